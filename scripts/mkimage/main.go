// Command mkimage builds our images into the build cache, where holtd and the
// tests find them: mkimage [-rebuild] [RECIPE...], by default "default". It
// prints one line for each image: name, ID and size. It is run by make.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/images"
)

func main() {
	rebuild := flag.Bool("rebuild", false, "build even when the cache has the image, to get newer packages")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{images.Default}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, names, *rebuild); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, rebuild bool) error {
	dir := filepath.Join(image.CacheDir(os.Getenv), "images")
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := image.OpenWait(ctx, dir, log)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, name := range names {
		r, err := image.LoadRecipe(images.FS, name)
		if err != nil {
			return err
		}
		began := time.Now()
		im, err := st.Build(ctx, r, image.BuildOptions{Rebuild: rebuild, Progress: show(name, isTerminal(os.Stderr))})
		if err != nil {
			return err
		}
		fmt.Printf("image %s  %s  %s  %.1f s\n", name, im.ID, holt.FormatSize(im.Size), time.Since(began).Seconds())
	}
	return st.Prune(ctx, time.Now().Add(-image.PruneAfter))
}

// show draws progress: one changing line on a terminal, one line for each
// finished phase elsewhere.
func show(name string, terminal bool) image.Progress {
	return func(e image.Event) {
		line := fmt.Sprintf("image %s: %s", name, e.Phase)
		if e.Total > 0 {
			line += fmt.Sprintf(" %d%%", 100*e.Done/e.Total)
		}
		switch {
		case e.End && terminal:
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s %.1f s\n", line, e.Took.Seconds())
		case e.End:
			fmt.Fprintf(os.Stderr, "%s %.1f s\n", line, e.Took.Seconds())
		case terminal:
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s  %.40s", line, e.Detail)
		}
	}
}

func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
