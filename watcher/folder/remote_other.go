//go:build !linux

package folder

// remoteKind is not known here: rescans find what gives no events.
func remoteKind(string) string { return "" }
