package objecttest_test

import (
	"testing"

	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
)

func TestMemory(t *testing.T) {
	objecttest.Run(t, func(*testing.T) object.Store { return new(objecttest.Memory) })
}

func TestScript(t *testing.T) {
	objecttest.Run(t, func(*testing.T) object.Store { return &objecttest.Script{Next: new(objecttest.Memory)} })
}
