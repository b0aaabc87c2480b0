package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
)

func newPort(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "port NAME [PORT [LOCAL]]",
		Short: "Forward a port of a workspace to this machine, or list its ports",
		Long: `Listen on 127.0.0.1:LOCAL and pass every connection to PORT in the workspace,
until interrupted. LOCAL is PORT unless given; 0 takes a free one. Without PORT,
list the ports on which processes of the workspace listen.`,
		Args: cobra.RangeArgs(1, 3),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 1 {
				return a.listPorts(ctx, c, args[0])
			}
			port, err := parsePort("PORT", args[1], 1)
			if err != nil {
				return err
			}
			local := port
			if len(args) == 3 {
				if local, err = parsePort("LOCAL", args[2], 0); err != nil {
					return err
				}
			}
			return a.forward(ctx, c, args[0], port, local)
		}),
	}
}

func parsePort(field, s string, least uint64) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n < least {
		return 0, holt.Invalidf(field, "%s: %q is not a port: use a number from %d to 65535", field, s, least)
	}
	return uint16(n), nil
}

func (a *app) listPorts(ctx context.Context, c *client.Client, name string) error {
	ports, err := c.Ports(ctx, name)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(ports)
	}
	return a.table("PORT\tPROCESS\tURL", func(row func(...string)) {
		for _, p := range ports {
			row(strconv.Itoa(p.Port), p.Process, p.URL)
		}
	})
}

// forward accepts connections until ctx ends, and then waits for those it made.
func (a *app) forward(ctx context.Context, c *client.Client, name string, port, local uint16) error {
	if _, err := c.Get(ctx, name); err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(local))))
	if err != nil {
		return holt.Wrap(holt.KindConflict, err, fmt.Sprintf("cannot listen on port %d here: give another LOCAL port, or 0 for a free one", local))
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	if a.json {
		if err := a.printJSON(map[string]any{"workspace": name, "port": port, "address": ln.Addr().String()}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "%s -> %s:%d\n", ln.Addr(), name, port)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("accept: %w", err)
		}
		wg.Go(func() {
			if err := forwardOne(ctx, c, name, port, conn.(*net.TCPConn)); err != nil && ctx.Err() == nil {
				fmt.Fprintf(a.err, "holt: %v\n", err)
			}
		})
	}
}

// forwardOne connects one local connection to the workspace, each direction
// until its own end, both until ctx ends.
func forwardOne(ctx context.Context, c *client.Client, name string, port uint16, local *net.TCPConn) error {
	defer local.Close()
	remote, err := c.DialPort(ctx, name, port)
	if err != nil {
		return err
	}
	defer remote.Close()
	defer context.AfterFunc(ctx, func() { local.Close(); remote.Close() })()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.Copy(remote, local); err == nil {
			_ = remote.(interface{ CloseWrite() error }).CloseWrite() // the other direction sees a dead peer
		} else {
			remote.Close()
		}
	})
	_, err = io.Copy(local, remote)
	if err == nil {
		_ = local.CloseWrite() // as above
	} else {
		local.Close()
	}
	wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
