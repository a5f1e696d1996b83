package peer

import (
	"fmt"
	"os/user"
	"strings"

	"github.com/jovalle/usher/hack/testbed/process"
)

// Debian's packages put these where a user's PATH may not look.
const (
	haproxyPath  = "/usr/sbin/haproxy"
	nginxPath    = "/usr/sbin/nginx"
	sniproxyPath = "/usr/sbin/sniproxy"
	nginxStream  = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

// HAProxy is configured as one does for TLS passthrough: by a map of names. Its
// threads are one a processor by default; 0 leaves them so.
func HAProxy(name string, threads int) Peer {
	return Peer{Name: name, Descriptors: 2, version: []string{haproxyPath, "-v"}, command: func(s Site) (process.Command, error) {
		hosts, err := s.write("haproxy.map", s.table(func(host string, backend int) string {
			return fmt.Sprintf("%s b%d\n", host, backend)
		}))
		if err != nil {
			return process.Command{}, err
		}
		global := ""
		if threads > 0 {
			global = fmt.Sprintf("global\n  nbthread %d\n", threads)
		}
		config, err := s.write("haproxy.cfg", global+fmt.Sprintf(haproxyConfig, s.Listen, hosts)+
			s.servers(func(i int, backend Address) string { return fmt.Sprintf("backend b%d\n  server s %s\n", i, backend) }))
		return process.Command{Path: haproxyPath, Args: []string{"-db", "-f", config}}, err
	}}
}

const haproxyConfig = `defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend edge
  bind %s
  tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend %%[req.ssl_sni,lower,map(%s)]
`

// Nginx is the stream module with ssl_preread, and Debian's one worker a
// processor.
func Nginx() Peer {
	return Peer{Name: "nginx", Descriptors: 2, version: []string{nginxPath, "-v"}, command: func(s Site) (process.Command, error) {
		upstreams := s.servers(func(i int, backend Address) string {
			return fmt.Sprintf("  upstream b%d { server %s; }\n", i, backend)
		})
		hosts := s.table(func(host string, backend int) string { return fmt.Sprintf("    %s b%d;\n", host, backend) })
		name, err := userName()
		if err != nil {
			return process.Command{}, err
		}
		config, err := s.write("nginx.conf", fmt.Sprintf(nginxConfig, nginxStream, name, s.Dir, upstreams, hosts, s.Listen))
		return process.Command{Path: nginxPath, Args: []string{"-c", config, "-p", s.Dir, "-e", "stderr"}}, err
	}}
}

const nginxConfig = `load_module %s;
daemon off;
user %s;
worker_processes auto;
pid %s/nginx.pid;
error_log stderr crit;
events { worker_connections 19000; }
stream {
  map_hash_max_size 262144;
  map_hash_bucket_size 128;
%s  map $ssl_preread_server_name $upstream {
%s  }
  server {
    listen %s backlog=4096;
    ssl_preread on;
    proxy_timeout 1h;
    proxy_pass $upstream;
  }
}
`

// SNIProxy is dlundquist/sniproxy. It matches a regular expression after the
// other.
func SNIProxy() Peer {
	return Peer{Name: "sniproxy", Descriptors: 2, MaxHosts: 10_000, version: []string{sniproxyPath, "-V"}, command: func(s Site) (process.Command, error) {
		hosts := s.table(func(host string, backend int) string {
			return fmt.Sprintf("  %s %s\n", strings.ReplaceAll(host, ".", `\.`), s.Backends[backend])
		})
		name, err := userName()
		if err != nil {
			return process.Command{}, err
		}
		config, err := s.write("sniproxy.conf", fmt.Sprintf(sniproxyConfig, name, s.Dir, s.Dir, s.Listen, hosts))
		return process.Command{Path: sniproxyPath, Args: []string{"-f", "-c", config}}, err
	}}
}

const sniproxyConfig = `user %s
pidfile %s/sniproxy.pid
error_log {
  filename %s/sniproxy.err
}
listener %s {
  proto tls
  table hosts
}
table hosts {
%s}
`

// userName is whom daemons shall run as: the one who starts them.
func userName() (string, error) {
	current, err := user.Current()
	if err != nil {
		return "", err
	}
	return current.Username, nil
}
