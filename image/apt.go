package image

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	holt "github.com/holt-ide/holt"
)

// aptDir is where the host says which mirrors it uses. We name none of our own:
// a company's machines often reach only its mirror.
const aptDir = "/etc/apt"

// hostSources returns the host's package sources for a Debian suite with its
// updates and security fixes, as a sources.list in deb822 form.
func hostSources(dir, suite string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return "", fmt.Errorf("list apt sources: %w", err)
	}
	var out strings.Builder
	for _, f := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		b, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read apt sources: %w", err)
		}
		switch filepath.Ext(f) {
		case ".list":
			fromLines(&out, string(b), suite)
		case ".sources":
			fromDeb822(&out, string(b), suite)
		}
	}
	if out.Len() == 0 {
		return "", holt.Errorf(holt.KindUnsupported,
			"this machine's apt sources (in %s) have no Debian %s: add one, for example a file %s/sources.list.d/debian.sources with Types: deb, URIs, Suites: %s, Components: main and Signed-By", dir, suite, dir, suite)
	}
	return out.String(), nil
}

// wantedSuites returns those of suites that belong to the release.
func wantedSuites(suites []string, release string) []string {
	return slices.DeleteFunc(suites, func(s string) bool {
		return s != release && s != release+"-updates" && s != release+"-security"
	})
}

// fromDeb822 writes the stanzas of a .sources file that serve the release.
func fromDeb822(out *strings.Builder, text, release string) {
	for _, stanza := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		f := deb822Fields(stanza)
		suites := wantedSuites(strings.Fields(f["suites"]), release)
		if len(suites) == 0 || f["uris"] == "" || strings.EqualFold(f["enabled"], "no") ||
			!slices.Contains(strings.Fields(f["types"]), "deb") {
			continue
		}
		writeStanza(out, f["uris"], suites, f["components"], f["signed-by"])
	}
}

// deb822Fields reads one stanza; field names are lowered, continuation lines
// joined with newlines.
func deb822Fields(stanza string) map[string]string {
	fields := map[string]string{}
	last := ""
	for line := range strings.SplitSeq(stanza, "\n") {
		switch {
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + line
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
	return fields
}

// fromLines writes the one-line entries ("deb [signed-by=F] URI SUITE COMP...")
// that serve the release.
func fromLines(out *strings.Builder, text, release string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		signedBy := ""
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			opts, rest, _ := strings.Cut(line[1:], "]")
			line = rest
			for o := range strings.FieldsSeq(opts) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					signedBy = v
				}
			}
		}
		f := strings.Fields(line)
		if len(f) < 3 || len(wantedSuites([]string{f[1]}, release)) == 0 {
			continue
		}
		writeStanza(out, f[0], []string{f[1]}, strings.Join(f[2:], " "), signedBy)
	}
}

func writeStanza(out *strings.Builder, uris string, suites []string, components, signedBy string) {
	fmt.Fprintf(out, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", uris, strings.Join(suites, " "), components)
	if signedBy != "" {
		fmt.Fprintf(out, "Signed-By: %s\n", signedBy)
	}
	out.WriteString("\n")
}

// hostAptOptions returns the host's settings about how to reach its mirrors
// (proxies, retries, whether an old snapshot of the archive is acceptable) as
// lines of an apt configuration.
func hostAptOptions(ctx context.Context) ([]string, error) {
	bin, err := lookTool("apt-config")
	if err != nil {
		return nil, err
	}
	b, err := exec.CommandContext(ctx, bin, "dump", "--no-empty", "Acquire").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-config dump: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, " ")
		if strings.Contains(name, "::Proxy") || slices.Contains([]string{
			"Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Retries", "Acquire::ForceIPv4",
		}, name) {
			out = append(out, line)
		}
	}
	return out, nil
}

// userInfo is a login in the address of a mirror.
var userInfo = regexp.MustCompile(`//[^/@\s]*@`)

// writeGuestApt replaces the apt configuration that mmdebstrap left in the tree,
// which holds all that was needed to reach the mirrors, by what a workspace may
// know: no proxies and no logins, since anybody's code can read it.
func writeGuestApt(root *os.Root, sources string, options []string) error {
	names, err := fs.Glob(root.FS(), "etc/apt/sources.list.d/*")
	if err != nil {
		return fmt.Errorf("list apt sources of the image: %w", err)
	}
	for _, name := range append(names, "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list", "etc/apt/auth.conf") {
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove apt configuration: %w", err)
		}
	}
	conf := "APT::Install-Recommends \"false\";\n"
	for _, o := range options {
		if !strings.Contains(o, "::Proxy") {
			conf += o + "\n"
		}
	}
	for _, f := range []struct{ name, text string }{
		{"etc/apt/sources.list.d/holt.sources", userInfo.ReplaceAllString(sources, "//")},
		{"etc/apt/apt.conf.d/90holt", conf},
	} {
		if err := root.MkdirAll(path.Dir(f.name), 0o755); err != nil {
			return fmt.Errorf("write apt configuration: %w", err)
		}
		if err := replaceFile(root, f.name, []byte(f.text)); err != nil {
			return fmt.Errorf("write apt configuration: %w", err)
		}
	}
	return nil
}
