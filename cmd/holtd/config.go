package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth/oidc"
)

// config is everything that flags decide.
type config struct {
	dataDir    string
	database   string // as package meta/sql takes it; "" for one in the data directory
	journalDir string // "" for one in the data directory
	listen     string
	readyFile  string
	publicURL  string
	portDomain string

	trustedProxies []netip.Prefix

	oidc        oidc.Config // no Issuer: none
	oidcDomains []string

	runsc, agent  string
	imageCache    string
	poolSize      int64
	store         storeConfig
	flushInterval time.Duration
	rawCopies     int64
	networkRange  netip.Prefix
	nameservers   []netip.Addr

	most       holt.Limits
	maxRunning int
	prepared   int
	idleAfter  time.Duration

	rest  []string // arguments that are no flags
	json  bool     // what a verb says
	quick bool     // fsck reads no contents

	logLevel  slog.Level
	logFormat string
	log       *slog.Logger
}

// errVersion is returned when the version was asked for.
var errVersion = errors.New("version asked for")

func parse(args []string, stderr io.Writer) (c config, err error) {
	fs := flag.NewFlagSet("holtd", flag.ContinueOnError)
	fs.SetOutput(stderr)
	bin := siblings()
	sizes := map[string]*string{}
	size := func(name, def, usage string) { sizes[name] = fs.String(name, def, usage) }
	fs.StringVar(&c.dataDir, "data-dir", "./data", "`directory` for everything the server keeps")
	fs.StringVar(&c.database, "database", os.Getenv("HOLT_DATABASE"), "database: a `file`, or postgres://USER@HOST:PORT/NAME, of this server alone (default from HOLT_DATABASE, else a file in the data directory)")
	fs.StringVar(&c.journalDir, "journal-dir", "", "`directory` for what is typed until the files have it: on another disk than the data directory it outlives that (default: in the data directory)")
	fs.StringVar(&c.listen, "listen", "127.0.0.1:7070", "`address:port` to serve on; port 0 takes a free one")
	fs.StringVar(&c.readyFile, "ready-file", "", "`file` that gets {\"url\",\"token\",\"pid\"} as JSON, mode 0600, once the server answers")
	fs.StringVar(&c.publicURL, "public-url", "", "`URL` under which browsers reach the server (default http:// and the listening address)")
	fs.StringVar(&c.portDomain, "port-domain", "localhost", "`domain` of forwarded ports: PORT--NAME.DOMAIN")
	proxies := fs.String("trusted-proxies", "", "comma-separated `prefixes` of proxies in front whose X-Forwarded-For is believed, such as 127.0.0.1/32")
	fs.StringVar(&c.oidc.Issuer, "oidc-issuer", "", "`URL` of an OpenID Connect provider that people may sign in with; register URL/login/oidc/callback there")
	fs.StringVar(&c.oidc.ClientID, "oidc-client-id", "", "`ID` that the provider has given to this server")
	secretFile := fs.String("oidc-client-secret-file", "", "`file` with the secret that the provider has given to this server")
	fs.StringVar(&c.oidc.Name, "oidc-name", "", "`name` of the provider on the login page (default single sign-on)")
	domains := fs.String("oidc-domains", "", "comma-separated `domains` whose checked e-mail addresses get an account by themselves; others need an invitation")
	fs.StringVar(&c.runsc, "runsc", filepath.Join(bin, "runsc"), "`path` of the sandbox runtime")
	fs.StringVar(&c.agent, "guest", filepath.Join(bin, "holt-guest"), "`path` of the guest agent")
	fs.StringVar(&c.imageCache, "image-cache", "", "`directory` of built images shared between data directories (default from HOLT_CACHE)")
	size("pool-size", "", "largest `size` of the file that holds volumes and snapshots, where the disk's file system needs one (default: nine tenths of what is free)")
	store := fs.String("store", "", "where files and snapshots are kept beside this node's disk: a `directory`, s3://BUCKET/PREFIX with credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or none (default: a directory in the data directory)")
	endpoint := fs.String("store-endpoint", "", "`URL` of the S3 server (default from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else Amazon's for the region)")
	region := fs.String("store-region", "", "`region` of the bucket (default from AWS_REGION or AWS_DEFAULT_REGION)")
	size("store-cache", "8g", "largest `size` of the copies of the S3 store's objects on this disk")
	fs.DurationVar(&c.flushInterval, "flush-interval", 30*time.Second, "`time` from the first change of a workspace's files to the revision that has it; a save does not wait for it")
	size("raw-copies", "", "largest `size` of the snapshots that stay on this disk, for fast resumes, when the store has them (default: a fifth of the disk)")
	size("max-memory", "", "largest memory `size` a workspace may ask for (default: the machine's)")
	size("max-disk", "100g", "largest disk `size` a workspace may ask for")
	cpus := fs.Float64("max-cpus", float64(runtime.NumCPU()), "largest number of `cores` a workspace may ask for")
	processes := fs.Int64("max-processes", 8192, "largest `number` of processes a workspace may ask for")
	fs.IntVar(&c.maxRunning, "max-running", 0, "`number` of workspaces that may run at once; 0 means no bound")
	fs.IntVar(&c.prepared, "prepared", 2, "`number` of sandboxes kept ready for the next start or resume, some 30 MB of memory each")
	fs.DurationVar(&c.idleAfter, "idle-after", 30*time.Minute, "`time` without activity after which a workspace is suspended, unless it says otherwise; 0 means never")
	network := fs.String("network-range", "10.213.0.0/16", "`prefix` from which workspaces' uplinks are numbered")
	resolvers := fs.String("nameservers", "", "comma-separated `addresses` that workspaces ask for names (default: the machine's own)")
	level := fs.String("log-level", "info", "`level`: debug, info, warn or error")
	fs.StringVar(&c.logFormat, "log-format", "text", "`format`: text or json")
	fs.BoolVar(&c.quick, "quick", false, "let fsck only look what is there, and read no contents")
	fs.BoolVar(&c.json, "json", false, "let a verb print JSON")
	showVersion := fs.Bool("version", false, "print the version and exit")
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: holtd [flags]\n\nServes Holt. SIGTERM ends the server and leaves the workspaces running.\n\n")
		for _, v := range verbs {
			fmt.Fprintf(stderr, "  holtd %s [flags] %s\n    \t%s\n", v.name, v.args, v.text)
		}
		fmt.Fprint(stderr, "\nVerbs take the flags that the server is started with.\n\n")
		fs.PrintDefaults()
		fmt.Fprint(stderr, "\nexit codes: 0 done or ended by a signal, 1 could not start or failed, 2 wrong flags\n")
	}
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if *showVersion {
		return c, errVersion
	}
	c.rest = fs.Args()
	if c.flushInterval < time.Second || c.flushInterval > time.Hour {
		return c, holt.Invalidf("flush-interval", "--flush-interval %v: use a time from 1s to 1h", c.flushInterval)
	}
	if c.prepared < 0 || c.prepared > 64 {
		return c, holt.Invalidf("prepared", "--prepared %d: use a number from 0 to 64", c.prepared)
	}
	c.most = holt.Limits{CPUs: *cpus, Processes: *processes}
	if c.store, err = parseStore(*store); err != nil {
		return c, err
	}
	c.store.endpoint, c.store.region = *endpoint, *region
	if err := c.store.checkEndpoint(); err != nil {
		return c, err
	}
	if c.database, err = parseDatabase(c.database); err != nil {
		return c, err
	}
	for name, field := range map[string]*int64{"pool-size": &c.poolSize, "store-cache": &c.store.cacheSize, "raw-copies": &c.rawCopies, "max-memory": &c.most.Memory, "max-disk": &c.most.Disk} {
		if text := *sizes[name]; text != "" {
			n, err := holt.ParseSize(name, text)
			if err != nil {
				return c, fmt.Errorf("--%s: %w", name, err)
			}
			*field = n
		}
	}
	c.most.Root = c.most.Disk
	if err := c.level(*level); err != nil {
		return c, err
	}
	if err := c.proxies(*proxies); err != nil {
		return c, err
	}
	if err := c.identity(*secretFile, *domains); err != nil {
		return c, err
	}
	return c, c.network(*network, *resolvers)
}

// parseDatabase understands the flag: "", the path of a file, or a URL.
func parseDatabase(at string) (string, error) {
	switch {
	case at == "", strings.HasPrefix(at, "postgres://"), strings.HasPrefix(at, "postgresql://"):
		return at, nil
	case strings.Contains(at, "://"):
		return "", holt.Invalid("database", "--database: use the path of a file, or postgres://USER@HOST:PORT/NAME") // without what may be a password
	}
	abs, err := filepath.Abs(strings.TrimPrefix(at, "sqlite:"))
	if err != nil {
		return "", fmt.Errorf("locate database: %w", err)
	}
	return "sqlite:" + abs, nil
}

// databaseOf returns the address of a data directory's database.
func (c *config) databaseOf(dir string) string {
	return cmp.Or(c.database, "sqlite:"+filepath.Join(dir, "holt.db"))
}

func (c *config) identity(secretFile, domains string) error {
	if c.oidc.Issuer == "" {
		if c.oidc.ClientID != "" || secretFile != "" || domains != "" {
			return holt.Invalid("oidc-issuer", "--oidc-issuer is missing: the other --oidc flags need it")
		}
		return nil
	}
	u, err := url.Parse(c.oidc.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return holt.Invalidf("oidc-issuer", "--oidc-issuer %q is not a URL such as https://id.example.org", c.oidc.Issuer)
	}
	if c.oidc.ClientID == "" {
		return holt.Invalid("oidc-client-id", "--oidc-issuer needs --oidc-client-id")
	}
	if secretFile != "" {
		text, err := os.ReadFile(secretFile)
		if err != nil {
			return fmt.Errorf("read --oidc-client-secret-file: %w", err)
		}
		c.oidc.ClientSecret = strings.TrimSpace(string(text))
	}
	for d := range strings.SplitSeq(domains, ",") {
		if d = strings.TrimSpace(d); d != "" {
			c.oidcDomains = append(c.oidcDomains, d)
		}
	}
	return nil
}

func (c *config) proxies(text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return holt.Invalidf("trusted-proxies", "--trusted-proxies %q is not a prefix such as 127.0.0.1/32", part)
		}
		c.trustedProxies = append(c.trustedProxies, p.Masked())
	}
	return nil
}

func (c *config) level(text string) error {
	if err := c.logLevel.UnmarshalText([]byte(text)); err != nil {
		return holt.Invalidf("log-level", "--log-level %q: use debug, info, warn or error", text)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return holt.Invalidf("log-format", "--log-format %q: use text or json", c.logFormat)
	}
	return nil
}

func (c *config) network(prefix, resolvers string) (err error) {
	if c.networkRange, err = netip.ParsePrefix(prefix); err != nil || !c.networkRange.Addr().Is4() || c.networkRange.Bits() > 28 {
		return holt.Invalidf("network-range", "--network-range %q: use an IPv4 prefix of at most 28 bits, such as 10.213.0.0/16", prefix)
	}
	if resolvers == "" {
		return nil
	}
	for text := range strings.SplitSeq(resolvers, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil || !a.Is4() {
			return holt.Invalidf("nameservers", "--nameservers %q is not an IPv4 address", text)
		}
		c.nameservers = append(c.nameservers, a)
	}
	return nil
}

// url returns the address for browsers, given where the server listens.
func (c *config) url(addr net.Addr) string {
	if c.publicURL != "" {
		return strings.TrimSuffix(c.publicURL, "/")
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	// Browsers treat localhost and its subdomains, where forwarded ports
	// appear, as one secure place.
	if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// siblings is the directory of this executable, where the others are.
func siblings() string {
	exe, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(exe)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "holtd (unknown build)"
	}
	rev := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			rev = " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "holtd " + info.Main.Version + rev
}
