package traefikrule

// httpV2 is Traefik 2's grammar of HTTP routers.
var httpV2 = grammar{
	"ClientIP":      {build: hostless(addresses)},
	"Headers":       {build: hostless(pairs)},
	"HeadersRegexp": {build: hostless(pairedPatterns)},
	"Host":          {build: hostV2},
	"HostHeader":    {build: hostV2},
	"HostRegexp":    {build: hostRegexpV2},
	"Method":        {build: hostless(anyValues)},
	"Path":          {build: hostless(pathTemplates)},
	"PathPrefix":    {build: hostless(pathTemplates)},
	"Query":         {build: hostless(queryTemplates)},
}

// httpV3 is Traefik 3's grammar of HTTP routers.
var httpV3 = grammar{
	"ClientIP":     {arity: []int{1}, build: hostless(addresses)},
	"Header":       {arity: []int{2}, build: hostless(anyValues)},
	"HeaderRegexp": {arity: []int{2}, build: hostless(secondIsPattern)},
	"Host":         {arity: []int{1}, build: hostV3},
	"HostRegexp":   {arity: []int{1}, build: hostRegexpV3},
	"Method":       {arity: []int{1}, build: hostless(anyValues)},
	"Path":         {arity: []int{1}, build: hostless(absolutePaths)},
	"PathPrefix":   {arity: []int{1}, build: hostless(absolutePaths)},
	"PathRegexp":   {arity: []int{1}, build: hostless(firstIsPattern)},
	"Query":        {arity: []int{1, 2}, build: hostless(anyValues)},
	"QueryRegexp":  {arity: []int{1, 2}, build: hostless(secondIsPattern)},
}

// hostV2 builds Traefik 2's Host, which has no wildcards.
func hostV2(r *reading, values []string) (expr, error) {
	for _, value := range values {
		if err := ascii(value); err != nil {
			return nil, err
		}
	}
	return r.manyHosts(values), nil
}

func hostV3(r *reading, values []string) (expr, error) {
	switch value := values[0]; {
	case value == "*":
		return everyHost, nil // since 3.7.7; older versions match nothing
	case value == "*.":
		return nil, badHost(value) // in Traefik it matches all hosts of one label
	default:
		if err := ascii(value); err != nil {
			return nil, err
		}
		return r.hostOrWildcard(value), nil
	}
}

func hostRegexpV2(r *reading, values []string) (expr, error) {
	return r.templates(values, func(value string) (template, error) {
		if err := ascii(value); err != nil {
			return template{}, err
		}
		return r.muxTemplate(value)
	})
}

// hostRegexpV3 builds Traefik 3's HostRegexp. It matches every host if the expression
// matches the empty string: Traefik also compares the host's flattened CNAME, which is
// empty unless hostResolver.cnameFlattening is set.
func hostRegexpV3(r *reading, values []string) (expr, error) {
	if err := ascii(values[0]); err != nil {
		return nil, err
	}
	p, err := r.compile(values[0])
	if err != nil {
		return nil, err
	}
	if p.re.MatchString("") {
		return everyHost, nil
	}
	return anyOf(p), nil
}
