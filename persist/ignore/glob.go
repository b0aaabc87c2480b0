package ignore

import "strings"

// glob reports whether a path matches a pattern, as Git's wildmatch does it: * and ?
// and classes match within a name, ** between slashes matches any number of folders.
func glob(pattern, path string) bool {
	m := matcher{pattern: pattern, width: len(path) + 1}
	return m.match(pattern, path)
}

// matcher remembers where it failed, so that many stars take no more than the product
// of the lengths.
type matcher struct {
	pattern string
	failed  map[int]bool // len(pattern)*width + len(path)
	width   int
}

func (m *matcher) match(p, s string) bool {
	key := len(p)*m.width + len(s)
	if m.failed[key] {
		return false
	}
	if m.step(p, s) {
		return true
	}
	if m.failed == nil {
		m.failed = map[int]bool{}
	}
	m.failed[key] = true
	return false
}

func (m *matcher) step(p, s string) bool {
	for p != "" {
		switch p[0] {
		case '*':
			return m.star(p, s)
		case '?':
			if s == "" || s[0] == '/' {
				return false
			}
			p, s = p[1:], s[1:]
		case '[':
			if s == "" || s[0] == '/' {
				return false
			}
			ok, rest := class(p, s[0])
			if !ok {
				return false
			}
			p, s = rest, s[1:]
		case '\\':
			if p = p[1:]; p == "" {
				return false // a lone backslash at the end matches nothing
			}
			fallthrough
		default:
			if s == "" || s[0] != p[0] {
				return false
			}
			p, s = p[1:], s[1:]
		}
	}
	return s == ""
}

// star matches a pattern that begins with a star.
func (m *matcher) star(p, s string) bool {
	rest := strings.TrimLeft(p, "*")
	at := len(m.pattern) - len(p)
	whole := (at == 0 || m.pattern[at-1] == '/') && len(p)-len(rest) >= 2 && (rest == "" || rest[0] == '/')
	if whole {
		if rest == "" {
			return true // everything below
		}
		// "**/" is nothing, or any number of folders.
		if m.match(rest[1:], s) {
			return true
		}
		for i := range len(s) {
			if s[i] == '/' && m.match(rest[1:], s[i+1:]) {
				return true
			}
		}
		return false
	}
	for i := 0; ; i++ {
		if m.match(rest, s[i:]) {
			return true
		}
		if i == len(s) || s[i] == '/' {
			return false
		}
	}
}

// class reports whether c is in the bracket expression with which p begins, and returns
// what follows it. An expression without an end matches nothing.
func class(p string, c byte) (ok bool, rest string) {
	p = p[1:]
	negated := p != "" && (p[0] == '!' || p[0] == '^')
	if negated {
		p = p[1:]
	}
	in := false
	for first := true; ; first = false {
		if p == "" {
			return false, ""
		}
		if p[0] == ']' && !first {
			return in != negated, p[1:]
		}
		if name, after, found := strings.Cut(p, ":]"); found && strings.HasPrefix(name, "[:") {
			known, member := named(name[2:], c)
			if !known {
				return false, ""
			}
			in, p = in || member, after
			continue
		}
		from := p[0]
		if from == '\\' && len(p) > 1 {
			p = p[1:]
			from = p[0]
		}
		p = p[1:]
		to := from
		if len(p) > 1 && p[0] == '-' && p[1] != ']' {
			p = p[1:]
			if p[0] == '\\' && len(p) > 1 {
				p = p[1:]
			}
			to, p = p[0], p[1:]
		}
		in = in || c == from || from <= c && c <= to
	}
}

// named reports whether c is in a class of POSIX, and whether there is such a class.
func named(class string, c byte) (known, in bool) {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	switch class {
	case "alpha":
		return true, lower || upper
	case "digit":
		return true, digit
	case "alnum":
		return true, lower || upper || digit
	case "lower":
		return true, lower
	case "upper":
		return true, upper
	case "space":
		return true, c == ' ' || '\t' <= c && c <= '\r'
	case "blank":
		return true, c == ' ' || c == '\t'
	case "punct":
		return true, '!' <= c && c <= '~' && !lower && !upper && !digit
	case "xdigit":
		return true, digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	case "cntrl":
		return true, c < ' ' || c == 127
	case "graph":
		return true, '!' <= c && c <= '~'
	case "print":
		return true, ' ' <= c && c <= '~'
	}
	return false, false
}
