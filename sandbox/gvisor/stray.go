package gvisor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// killStray ends every process of the runtime that names dir on its command line:
// when our process was killed in the middle of a call of the runtime, that call
// goes on, and would make a sandbox that nobody knows.
func killStray(dir string) {
	for range 20 { // what it started in the meantime comes in the next round
		found := false
		procs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
		for _, proc := range procs {
			if !namesDir(proc, dir) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(proc))
			if err != nil {
				continue
			}
			p, err := openProcess(pid)
			if err != nil || !namesDir(proc, dir) { // it may be another by now
				continue
			}
			found = true
			p.kill()
			p.await(killPatience)
		}
		if !found {
			return
		}
	}
}

// namesDir reports whether the process under proc is one of the runtime for dir.
func namesDir(proc, dir string) bool {
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return false
	}
	name, _, _ := bytes.Cut(line, []byte{0})
	return bytes.HasPrefix([]byte(filepath.Base(string(name))), []byte("runsc")) && bytes.Contains(line, []byte(dir+"/"))
}
