package ydoc

import "unicode/utf8"

// replacement is U+FFFD, which stands for each half of a split surrogate pair.
const replacement = "\uFFFD"

// units is the length of UTF-8 text in UTF-16 code units.
func units(b []byte) int {
	n := len(b)
	for _, c := range b {
		if c >= 0x80 {
			return slowUnits(b)
		}
	}
	return n
}

// slowUnits counts every byte that starts a character, and those that start one
// beyond the basic plane twice.
func slowUnits(b []byte) int {
	n := 0
	for _, c := range b {
		if c&0xC0 != 0x80 {
			n++
		}
		if c >= 0xF0 {
			n++
		}
	}
	return n
}

// seek returns the byte offset of the UTF-16 unit at, in text of n units. With
// mid the unit is the second half of the pair that starts at the offset.
func seek(b []byte, n, at int) (offset int, mid bool) {
	if n == len(b) {
		return at, false // ASCII
	}
	for at > 0 {
		c := b[offset]
		switch {
		case c < 0x80:
			offset++
		case c >= 0xF0:
			if at == 1 {
				return offset, true
			}
			at--
			offset += utf8.UTFMax
		case c >= 0xE0:
			offset += 3
		default:
			offset += 2
		}
		at--
	}
	return offset, false
}

// cut splits text of n units before the unit at. A pair that is cut in two
// becomes two replacement characters, as in Yjs. The results share memory with b
// where they can; appending to the first never writes into the second.
func cut(b []byte, n, at int) (left, right []byte) {
	k, mid := seek(b, n, at)
	if !mid {
		return b[:k:k], b[k:]
	}
	left = append(b[:k:k], replacement...)
	right = append([]byte(replacement), b[k+utf8.UTFMax:]...)
	return left, right
}
