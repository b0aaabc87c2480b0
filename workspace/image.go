package workspace

import (
	"context"
	"fmt"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// WithImageUsers calls do with the names of the workspaces that need the image,
// oldest first, whatever their state and node. Until do has returned no
// workspace can be created or forked, so an image that nobody needs may be
// removed in it. It returns the error of do.
func (m *Manager) WithImageUsers(ctx context.Context, id holt.ImageID, do func(users []string) error) error {
	m.images.Lock()
	defer m.images.Unlock()
	var users []string
	for p := (meta.Page{Limit: meta.MaxPage}); ; {
		rows, next, err := m.cfg.Store.Workspaces().List(ctx, p)
		if err != nil {
			return fmt.Errorf("read workspaces: %w", err)
		}
		for _, w := range rows {
			if w.Image == id {
				users = append(users, w.Name)
			}
		}
		if next == "" {
			return do(users)
		}
		p.Cursor = next
	}
}
