package main

// escape finds the detach sequence "~." at the start of a line in what the user
// types, as ssh does. "~~" there types one "~". Its zero value is at the start
// of a line.
type escape struct {
	midLine bool // the last key was not Return
	tilde   bool // a "~" is held back until the next key decides
}

// feed returns what of in is input for the workspace, and whether the user asked
// to leave; what was typed before that is still input.
func (e *escape) feed(in []byte) (out []byte, leave bool) {
	for _, b := range in {
		if e.tilde {
			e.tilde = false
			switch b {
			case '.':
				return out, true
			case '~':
				out, e.midLine = append(out, b), true
				continue
			}
			out, e.midLine = append(out, '~'), true
		} else if b == '~' && !e.midLine {
			e.tilde = true
			continue
		}
		out = append(out, b)
		e.midLine = b != '\r' && b != '\n'
	}
	return out, false
}
