package admission

// Decide decides who holds the host.
func Decide(in Input, policy Policy) Decision {
	return Decision{}
}
