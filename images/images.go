// Package images holds the recipes of our own images, built into the program
// so that a server needs no source tree to make them:
//
//	default   what a workspace gets that names no image: Debian with Python,
//	          Node.js, a C toolchain, git and the usual tools
//	tiny      busybox and bash, made in seconds, for tests of the platform
//
// A recipe is a folder that [image.LoadRecipe] reads. The package has no logic.
package images

import "embed"

// FS holds a folder for each recipe, named as the image.
//
//go:embed all:default all:tiny
var FS embed.FS

// Default is the name of the image that a workspace gets that names none.
const Default = "default"

// Tiny is the name of the image for tests.
const Tiny = "tiny"
