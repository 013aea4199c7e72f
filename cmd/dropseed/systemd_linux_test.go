package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemdUnitIsValidAndHardened(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd-analyze")
	text, err := os.ReadFile(filepath.Join(deployed, "systemd", "dropseed.service"))
	if err != nil {
		t.Fatal(err)
	}
	// The program must exist where the unit says.
	const program = "/usr/local/bin/dropseed "
	if !strings.Contains(string(text), "ExecStart="+program) {
		t.Fatal("the unit starts something else")
	}
	unit := filepath.Join(t.TempDir(), "dropseed.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(text), "ExecStart="+program, "ExecStart="+binary(t)+" ", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=true", "--threshold=25", "--no-pager", unit}} {
		cmd := exec.Command(analyze, args...)
		out, err := cmd.CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("%v: %v\n%s", cmd, err, out)
		}
	}
}
