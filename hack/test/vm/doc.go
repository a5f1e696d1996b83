// Package vm tests usher on a machine without Kubernetes: dpkg installs, upgrades and
// removes the Debian package, and systemd runs its unit. It must not import usher's own
// packages.
package vm
