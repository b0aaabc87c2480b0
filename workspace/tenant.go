package workspace

import "github.com/holt-ide/holt"

// Tenant names an owner's part of the store.
func Tenant(owner holt.UserID) string { return tenantOf(owner) }
