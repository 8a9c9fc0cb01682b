package embedded

import (
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZapLogger returns a zap logger that writes to l, what is above Debug only
// while loud is set, or nil.
func newZapLogger(l hclog.Logger, loud *atomic.Bool) *zap.Logger {
	return zap.New(&hclogCore{logger: l, loud: loud}, zap.WithFatalHook(fatalHook{}), zap.WithPanicHook(fatalHook{}))
}

// hclogCore is a zapcore.Core that forwards to hclog. Levels move down by one,
// as much of what etcd calls information is of interest only when debugging
// etcd. Warnings and errors keep theirs, but for those of a server that starts or
// stops: etcd warns of settings that are meant as they are, and takes the end of
// its own connections for an error.
type hclogCore struct {
	logger hclog.Logger
	loud   *atomic.Bool
}

var _ zapcore.Core = (*hclogCore)(nil)

func (c *hclogCore) Enabled(l zapcore.Level) bool {
	level := c.logger.GetLevel()
	return level != hclog.NoLevel && c.level(l) >= level
}

func (c *hclogCore) With(fields []zapcore.Field) zapcore.Core {
	return &hclogCore{logger: c.logger.With(keyValues(fields)...), loud: c.loud}
}

func (c *hclogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *hclogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.logger.Log(c.level(e.Level), e.Message, keyValues(fields)...)
	return nil
}

func (c *hclogCore) Sync() error { return nil }

func (c *hclogCore) level(l zapcore.Level) hclog.Level {
	switch {
	case l < zapcore.InfoLevel:
		return hclog.Trace
	case l == zapcore.InfoLevel, c.loud != nil && !c.loud.Load():
		return hclog.Debug
	case l == zapcore.WarnLevel:
		return hclog.Warn
	}
	return hclog.Error
}

func keyValues(fields []zapcore.Field) []any {
	args := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		args = append(args, f.Key, enc.Fields[f.Key])
	}
	return args
}

// fatalHook ends the process where etcd logs at the level Panic or Fatal, which
// it does when it cannot go on: the database is corrupt, the disk full. By
// default that would happen without a word when logs are off; a panic tells why.
type fatalHook struct{}

func (fatalHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	msg := "embedded etcd: " + ce.Message
	kv := keyValues(fields)
	for i := 0; i < len(kv); i += 2 {
		msg += fmt.Sprintf(" %v=%v", kv[i], kv[i+1])
	}
	panic(msg)
}
