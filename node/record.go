package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// record is what the node must remember of one sandbox across its own restarts.
// After a restart of the host it only names remains, so it need not survive a
// power failure.
type record struct {
	Sandbox   holt.SandboxID   `json:"sandbox"`
	Unit      holt.SandboxID   `json:"unit"` // the driver's name of the sandbox, see [unit]
	Workspace holt.WorkspaceID `json:"workspace"`
	Name      string           `json:"name"`
	Tenant    string           `json:"tenant,omitempty"` // whose files the volume has
	Image     holt.ImageID     `json:"image"`
	Limits    holt.Limits      `json:"limits"`
	Slot      int              `json:"slot"`
	SlotTag   string           `json:"slot_tag"`
	Agent     string           `json:"agent"`  // hash of the guest agent
	Secret    string           `json:"secret"` // of the guest agent, this boot's
	Ready     bool             `json:"ready"`  // the machine was handed over; without it the record is garbage
	Event     uint64           `json:"event"`  // number of the last guest event passed on
	MadeAt    time.Time        `json:"made_at"`
	Loading   bool             `json:"loading,omitempty"` // its memory still comes from a mount of this process: it ends with it
}

// unit returns the driver's name of the sandbox. Records of the first version
// hold none: there it was the sandbox's own.
func (r record) unit() holt.SandboxID {
	if r.Unit == "" {
		return r.Sandbox
	}
	return r.Unit
}

func (n *Node) recordPath(id holt.SandboxID) string {
	return filepath.Join(n.cfg.Dir, "machines", string(id)+".json")
}

func (n *Node) writeRecord(r record) error {
	body, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encode machine record: %w", err)
	}
	if err := durable.Replace(n.recordPath(r.Sandbox), body, 0o600); err != nil {
		return fmt.Errorf("write machine record: %w", err)
	}
	return nil
}

// readRecord returns a sandbox's record and whether there is one.
func (n *Node) readRecord(id holt.SandboxID) (record, bool, error) {
	body, err := os.ReadFile(n.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	} else if err != nil {
		return record{}, false, fmt.Errorf("read machine record: %w", err)
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, false, fmt.Errorf("decode machine record of %s: %w", id, err)
	}
	return r, true, nil
}

// records lists every sandbox that has a record.
func (n *Node) records() ([]record, error) {
	entries, err := os.ReadDir(filepath.Join(n.cfg.Dir, "machines"))
	if err != nil {
		return nil, fmt.Errorf("list machine records: %w", err)
	}
	var list []record
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		r, found, err := n.readRecord(holt.SandboxID(id))
		if err != nil {
			return nil, err
		}
		if found {
			list = append(list, r)
		}
	}
	return list, nil
}
