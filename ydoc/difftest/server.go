package difftest

import (
	"github.com/holt-ide/holt/ydoc"
)

// server is a document that answers what clients ask of a server.
type server struct {
	doc  *ydoc.Doc
	keep bool
	id   uint64
	out  [][]byte
}

func newServer(keep bool) *server {
	s := &server{keep: keep, id: 1000}
	s.start()
	return s
}

// start begins with an empty document and a new client ID.
func (s *server) start() {
	s.doc = ydoc.New(ydoc.Options{Client: s.id, KeepDeleted: s.keep, OnUpdate: func(u []byte) { s.out = append(s.out, u) }})
	s.id++
}

// request is what a client, the network or the machine wants of the server.
type request struct {
	Scenario int    `json:"i"`
	Kind     string `json:"k"`
	Data     []byte `json:"data"` // an update or a state vector
	Place    uint32 `json:"p"`
	N        int    `json:"n"`
	Text     string `json:"s"`
}

// handle answers with updates to relay, or the one thing that was asked for.
func (s *server) handle(q request) ([][]byte, error) {
	s.out = nil
	switch q.Kind {
	case "apply":
		if err := s.doc.Apply(q.Data); err != nil {
			return nil, err
		}
	case "diff":
		sv, err := ydoc.DecodeStateVector(q.Data)
		return [][]byte{s.doc.Diff(sv)}, err
	case "vector":
		return [][]byte{s.doc.StateVector().Encode()}, nil
	case "text":
		return [][]byte{[]byte(s.doc.Text("text").String())}, nil
	case "restart":
		state := s.doc.Encode()
		s.start()
		err := s.doc.Apply(state)
		s.out = nil
		return nil, err
	case "outside":
		var err error
		s.doc.Transact(func() { err = s.outside(q) })
		return s.out, err
	}
	return s.out, nil
}

func (s *server) outside(q request) error {
	t := s.doc.Text("text")
	at := int(uint64(q.Place) % uint64(t.Len()+1))
	if err := t.Delete(at, min(q.N, t.Len()-at)); err != nil {
		return err
	}
	return t.Insert(at, q.Text)
}
