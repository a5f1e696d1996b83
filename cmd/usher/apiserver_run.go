//go:build linux && !nostandalone

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/jovalle/usher/controllers/apiserver"
	"github.com/jovalle/usher/controllers/standalone"
)

// hasAPIServer reports whether this program can serve the API of an edge without Kubernetes.
const hasAPIServer = true

// apiserverLife is how long the process runs before it is started again, with a new
// certificate.
const apiserverLife = standalone.ServingLife * 3 / 4

// run serves the API until ctx, its certificate or the process that started it ends. That
// process holds the other end of standard input open.
func (o *apiserverOptions) run(ctx context.Context) error {
	signal.Ignore(syscall.SIGTERM, os.Interrupt)
	ctx, stop := context.WithTimeout(ctx, apiserverLife)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
		time.Sleep(apiserverEnd)
		os.Exit(exitFailure)
	}()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(apiserverGC)
	}
	level := "error" // what Kubernetes' libraries and etcd do is of use to developers only
	if o.logLevel == "debug" {
		level = o.logLevel
	}
	newLogger(level, o.logFormat)
	dir := standalone.Dir(o.dir)
	unlock, err := dir.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w; choose another address with --api-listen", err)
	}
	defer listener.Close()
	server, err := o.server(dir, listener)
	if err != nil {
		return err
	}
	if level != "debug" {
		level = "fatal" // etcd logs its normal end as errors; those of its start are returned
	}
	server.Log = newZap(level, o.logFormat)
	server.Ready = debug.FreeOSMemory // setting up the schemas of all kinds takes more than serving them
	return server.Run(ctx)
}

// apiserverGC is the GOGC of the process. It has little to do, and much of what it does
// makes garbage.
const apiserverGC = 25

// apiserverEnd is how long the process may take to end after the one that started it.
const apiserverEnd = 10 * time.Second

func (o *apiserverOptions) server(dir standalone.Dir, listener net.Listener) (*apiserver.Server, error) {
	definitions, err := apiserver.UsherDefinitions()
	if err != nil {
		return nil, err
	}
	certificate, key, err := dir.Serving(listener.Addr(), o.hosts)
	if err != nil {
		return nil, err
	}
	serving, err := dynamiccertificates.NewStaticCertKeyContent("serving", certificate, key)
	if err != nil {
		return nil, err
	}
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("clients", dir.CA())
	if err != nil {
		return nil, err
	}
	return &apiserver.Server{
		Dir: dir.Store(), Listener: listener, ClientCA: ca, Certificate: serving,
		Definitions: definitions, Namespaces: []string{"default", "kube-system", defaultNamespace}, Administrators: standalone.Administrators,
	}, nil
}

// newZap returns a logger for a library that takes none of logr's.
func newZap(level, format string) *zap.Logger {
	var lowest zapcore.Level
	_ = lowest.Set(level) // it is one of logLevels
	config := zap.NewProductionConfig()
	config.Level, config.Sampling, config.DisableStacktrace = zap.NewAtomicLevelAt(lowest), nil, true
	if format == formatText {
		config.Encoding, config.EncoderConfig.EncodeTime = "console", zapcore.RFC3339TimeEncoder
	}
	log, err := config.Build()
	if err != nil {
		return zap.NewNop()
	}
	return log
}
