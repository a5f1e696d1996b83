package traefikrule

// Fuel limits the work of deciding which wildcards regular expressions cover. It is
// the number of steps that are left. A core takes about forty in a microsecond.
type Fuel int

// spend reports whether so many steps were left.
func (f *Fuel) spend(steps int) bool {
	if *f < Fuel(steps) {
		*f = 0
		return false
	}
	*f -= Fuel(steps)
	return true
}
