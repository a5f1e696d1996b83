package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The same files make the same package, for the architectures of Debian and with any umask.
func TestDebianPackagesAreReproducible(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("there is no dpkg here")
	}
	t.Chdir("../..")
	nfpm := filepath.Join(t.TempDir(), "nfpm")
	output(t, "go", "build", "-C", "hack/tools/nfpm", "-o", nfpm, "tool")
	var files []file
	for _, name := range []string{"usher", "man/man1/usher.1", "completions/usher.bash", "completions/_usher", "completions/usher.fish", "CHANGELOG.md"} {
		files = append(files, file{name, 0o644, []byte(name)})
	}
	for architecture, p := range map[string]platform{"amd64": {OS: "linux", Arch: "amd64"}, "arm64": {OS: "linux", Arch: "arm64"}, "armhf": {OS: "linux", Arch: "arm"}} {
		t.Run(architecture, func(t *testing.T) {
			name := "usher-v9.8.7-dev.g0123456789ab-" + p.suffix() + ".deb"
			var packages [2][]byte
			before := syscall.Umask(0)
			defer syscall.Umask(before)
			for i, umask := range []int{0o022, 0o077} {
				syscall.Umask(umask)
				r := &release{version: "v9.8.7-dev.g0123456789ab", nfpm: nfpm, out: t.TempDir(), work: t.TempDir(), time: time.Unix(1_800_000_000, 0).UTC()}
				testkit.Must(t, r.debian(t.Context(), p, files))
				var err error
				packages[i], err = os.ReadFile(r.path(name))
				testkit.Must(t, err)
				fields := output(t, "dpkg-deb", "--field", r.path(name), "Architecture", "Version")
				if want := []string{"Architecture: " + architecture + "\n", "Version: 9.8.7~dev.g0123456789ab\n"}; !testkit.ContainsAll(fields, want) {
					t.Errorf("the fields are %q, not %q", fields, want)
				}
				modes := output(t, "dpkg-deb", "--contents", r.path(name))
				if !strings.Contains(modes, "-rwxr-xr-x root/root") {
					t.Errorf("the program is not executable:\n%s", modes)
				}
			}
			if !bytes.Equal(packages[0], packages[1]) {
				t.Error("the packages differ")
			}
		})
	}
}

// The archives have the unit for a program that a person has installed.
func TestUnitOfTheArchives(t *testing.T) {
	t.Chdir("../..")
	files, err := unitFiles()
	testkit.Must(t, err)
	for _, f := range files {
		if strings.Contains(string(f.content), "/usr/bin/usher") {
			t.Errorf("%s names the program of the package:\n%s", f.name, f.content)
		}
	}
}
