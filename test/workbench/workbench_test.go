// Package workbench drives the workbench page in a real browser against the real
// holtd and real machines, and takes both away from under it.
package workbench

import (
	"testing"
	"time"

	"github.com/holt-ide/holt/test/server"
)

// TestInBrowser opens, edits, saves, searches and runs; reloads; kills the server
// and suspends the machine while somebody types; and changes a file behind an editor's
// back. Every character is compared with the disk. HOLT_PICTURES names a folder for
// screenshots.
func TestInBrowser(t *testing.T) {
	d := newDriver(t)
	// The page comes back to the address it was loaded from.
	s := server.Start(t, "--listen", freeAddress(t))
	d.needPages(t, s)
	s.Must(t, "create", "demo")
	s.Sh(t, "demo", project)
	d.run(t, s, 8*time.Minute, "workbench.mjs", s.Must(t, "open", "demo"))
}

// project makes what the test works on: a program, many files, and some odd ones.
const project = `cd /workspace && git init -q . && mkdir -p src many .vscode
printf '{ "files.autoSave": "off", "terminal.integrated.gpuAcceleration": "off" }\n' > .vscode/settings.json
printf 'import sys\n\n\ndef greet(name: str) -> str:\n    """Say hello."""\n    return f"Hello, {name}!"\n\n\nif __name__ == "__main__":\n    print(greet(sys.argv[1] if len(sys.argv) > 1 else "world"))\n' > src/main.py
printf '# Demo\n\nA small project.\n' > README.md
printf 'a carriage\rreturn\nA small file.\n' > old.txt
printf 'run:\n\tpython3 src/main.py\n' > Makefile
printf '{\n  "name": "demo",\n  "scripts": { "greet": "python3 src/main.py npm" }\n}\n' > package.json
for i in $(seq 100); do mkdir many/$i; for j in $(seq 100); do echo "$i $j" > many/$i/file-$i-$j.txt; done; done
echo 'the needle of 4711' > many/47/file-47-11.txt
head -c 3000 /dev/urandom > many/binary.bin
echo fox > 'many/a 🦊.txt'
echo lines > "$(printf 'many/two\nlines.txt')"`
