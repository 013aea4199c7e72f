//go:build !unix

package seeder

import (
	"errors"
	"os"
)

// mapFile always fails here, so that content is read into buffers.
func mapFile(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) {}
