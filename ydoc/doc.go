// Package ydoc is an engine for shared text documents in the Yjs v1 update
// format: documents that several people edit at once, offline too, and that end
// equal everywhere once all updates have arrived, in whatever order and however
// often.
//
// It is for a server. It integrates, stores and hands out updates, edits text by
// UTF-16 index, and translates relative positions. Shared types other than text
// are carried: their structure is kept, their values are bytes that are encoded as
// they came. There is no undo (an undo is an edit, made by a client), no rich text
// and no observing of single changes.
//
// The algorithm and the format are those of Yjs, https://github.com/yjs/yjs, by
// Kevin Jahns, and lib0, https://github.com/dmonad/lib0; both under the MIT
// licence, see NOTICE. The conflict resolution is YATA (Nicolaescu, Jahns, Derntl,
// Klamma: Near Real-Time Peer-to-Peer Shared Editing on Extensible Data Types,
// 2016) as Yjs 13 modified it. The code is our own. Package difftest compares it
// with Yjs on thousands of random scenarios.
//
// The package imports the standard library only; anyone may import it. A [Doc] is
// not safe for concurrent use.
//
// # Guarantees
//
// An update is checked from its first byte to its last before any of it is
// integrated: what is malformed changes nothing. No input makes a method panic or
// recurse deeply, and memory is bounded by [Limits]. Of two documents with equal
// state vectors, equal deletions and nothing pending, the content is equal.
//
// Text is UTF-8 in the format and counted in UTF-16 code units, as in JavaScript.
// An edit between the halves of a surrogate pair makes two U+FFFD of them, as in
// Yjs, so that no string is ever invalid.
//
// # Data
//
// Each client numbers the units of content it inserts: its clock. A struct is a
// run of such units, and carries the units that were left and right of it when it
// was inserted: its origin and right origin. An item is a struct with a place in a
// parent, and a range of clocks of which nothing is left is a GC struct. A parent
// is a root type, which has a name, or a type that an item holds; in it, an item
// belongs to the sequence or to a key. Deleted items stay, without content.
//
// # Update
//
// The values uint, string and any are those of package lib0.
//
//	update    = uint: number of sections, section..., delete set
//	section   = uint: number of structs, uint: client, uint: clock, struct...
//	struct    = info byte, then by its low five bits:
//	   0 GC       uint: length
//	  10 skip     uint: length, clocks that the update does not have
//	   else       an item
//	item      = [origin, if 0x80] [right origin, if 0x40]
//	            [if neither: parent, and key if 0x20] content
//	origin    = uint: client, uint: clock
//	parent    = uint: 1, string: name of a root type
//	          | uint: 0, uint: client, uint: clock of the item with the type
//	key       = string
//	content   = by the low five bits of the info byte:
//	   1 deleted  uint: length
//	   2 JSON     uint: length, string with JSON or "undefined" for each
//	   3 binary   uint: length in bytes, bytes; one unit
//	   4 string   string; as many units as it has UTF-16 code units
//	   5 embed    string with JSON; one unit
//	   6 format   string: key, string with JSON; one unit that is not counted
//	   7 type     uint: 0 array, 1 map, 2 text, 3 XML element, 4 XML fragment,
//	              5 XML hook, 6 XML text; 3 and 5 are followed by string: name;
//	              one unit
//	   8 any      uint: length, any for each
//	   9 document string: GUID, any: options; one unit
//	delete set= uint: number of clients, then for each
//	            uint: client, uint: number of ranges, for each range
//	            uint: clock, uint: length
//
// An item with an origin has the parent and key of that, else those of the right
// origin. The clock of each struct follows from the section's and the lengths
// before it. We write sections and delete sets with the highest client first, and
// ranges in order and joined; we read any order.
//
// A state vector is uint: number of clients, then uint: client, uint: clock for
// each. A relative position is uint: 0 and an ID, 1 and the name of a root type,
// or 2 and the ID of an item with a type; then, as a signed integer, the side.
package ydoc
