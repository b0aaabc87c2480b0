package guestwire

import (
	"fmt"
	"net/url"
)

// UserHeader is the request header in which the gateway tells who sends a request,
// in the form of [User.String]. It takes the place of whatever the client sent.
const UserHeader = "Holt-User"

// User is who sends a request.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"` // in the workspace: viewer, editor or owner
}

// String encodes u as a form (application/x-www-form-urlencoded) of id, name and role.
func (u User) String() string {
	return url.Values{"id": {u.ID}, "name": {u.Name}, "role": {u.Role}}.Encode()
}

// ParseUser decodes what String made. "" is the zero User.
func ParseUser(s string) (User, error) {
	q, err := url.ParseQuery(s)
	if err != nil {
		return User{}, fmt.Errorf("parse user: %w", err)
	}
	return User{ID: q.Get("id"), Name: q.Get("name"), Role: q.Get("role")}, nil
}
