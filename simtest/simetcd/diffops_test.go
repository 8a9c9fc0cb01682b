package simetcd_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

var (
	// Few keys, so that operations meet; some are prefixes of others, one is
	// the next key after another, one has no next prefix, and one is refused.
	keys     = []string{"a", "a", "a/1", "a/1", "a/2", "b", "b", "b\x00", "b/\xff", "\xff", ""}
	values   = []string{"", "x", "y", "zz"}
	targets  = []clientv3.SortTarget{clientv3.SortByKey, clientv3.SortByVersion, clientv3.SortByCreateRevision, clientv3.SortByModRevision, clientv3.SortByValue, 9}
	orders   = []clientv3.SortOrder{clientv3.SortNone, clientv3.SortAscend, clientv3.SortDescend, 9}
	compares = []string{"version", "create", "mod", "value", "lease"}
	results  = []string{"=", "!=", "<", ">"}
)

func (w *world) drawKey() string { return rapid.SampledFrom(keys).Draw(w.t, "key") }

func (w *world) chance(percent int, of string) bool {
	return rapid.IntRange(1, 100).Draw(w.t, of) > 100-percent
}

// drawRange draws how a range of keys is asked for.
func (w *world) drawRange() (opts []clientv3.OpOption, text string) {
	switch rapid.IntRange(0, 5).Draw(w.t, "range") {
	case 0, 1:
		return []clientv3.OpOption{clientv3.WithPrefix()}, "*"
	case 2:
		return []clientv3.OpOption{clientv3.WithFromKey()}, ".."
	case 3:
		end := w.drawKey() // may lie before the key
		return []clientv3.OpOption{clientv3.WithRange(end)}, fmt.Sprintf("..%q", end)
	}
	return nil, ""
}

// drawLeaseIndex draws a lease, mostly one that was granted.
func (w *world) drawLeaseIndex() int {
	return rapid.IntRange(0, len(w.sim.leases)).Draw(w.t, "lease")
}

// drawOp draws an operation that may contain transactions of some depth. The
// text is for failures; the operation is made for each side.
func (w *world) drawOp(depth int) (string, func(*side) clientv3.Op) {
	kinds := []string{"put", "put", "get", "delete"}
	if depth > 0 {
		kinds = append(kinds, "txn")
	}
	switch rapid.SampledFrom(kinds).Draw(w.t, "operation") {
	case "put":
		return w.drawPut()
	case "get":
		return w.drawGet()
	case "delete":
		return w.drawDelete()
	}
	return w.drawTxn(depth)
}

func (w *world) drawPut() (string, func(*side) clientv3.Op) {
	key, value := w.drawKey(), rapid.SampledFrom(values).Draw(w.t, "value")
	lease := -1
	var opts []clientv3.OpOption
	if w.chance(30, "with lease") {
		lease = w.drawLeaseIndex()
	}
	if w.chance(10, "ignore value") {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if w.chance(10, "ignore lease") {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	if w.chance(50, "prev") {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return fmt.Sprintf("put %q=%q lease %d, %d options", key, value, lease, len(opts)), func(s *side) clientv3.Op {
		all := slices.Clone(opts)
		if lease >= 0 {
			all = append(all, clientv3.WithLease(s.lease(lease)))
		}
		return clientv3.OpPut(key, value, all...)
	}
}

func (w *world) drawGet() (string, func(*side) clientv3.Op) {
	key := w.drawKey()
	opts, text := w.drawRange()
	text = fmt.Sprintf("get %q%s", key, text)
	var rev int64
	revs := map[string]int64{}
	if w.chance(40, "at revision") {
		rev = w.drawRev()
		text += fmt.Sprintf(" @%d", rev)
	}
	if w.chance(40, "limit") {
		n := rapid.Int64Range(-1, 4).Draw(w.t, "limit")
		opts = append(opts, clientv3.WithLimit(n))
		text += fmt.Sprintf(" limit %d", n)
	}
	if w.chance(30, "sorted") {
		target, order := rapid.SampledFrom(targets).Draw(w.t, "target"), rapid.SampledFrom(orders).Draw(w.t, "order")
		opts = append(opts, clientv3.WithSort(target, order))
		text += fmt.Sprintf(" by %v %v", target, order)
	}
	if w.chance(20, "keys only") {
		opts = append(opts, clientv3.WithKeysOnly())
		text += " keys"
	}
	if w.chance(15, "count only") {
		opts = append(opts, clientv3.WithCountOnly())
		text += " count"
	}
	if w.chance(20, "serializable") {
		opts = append(opts, clientv3.WithSerializable())
	}
	for _, filter := range []string{"min mod", "max mod", "min create", "max create"} {
		if w.chance(8, filter) {
			revs[filter] = w.drawRev()
			text += fmt.Sprintf(" %s %d", filter, revs[filter])
		}
	}
	return text, func(s *side) clientv3.Op {
		return clientv3.OpGet(key, append(slices.Clone(opts),
			clientv3.WithRev(s.rev(rev)),
			clientv3.WithMinModRev(s.rev(revs["min mod"])), clientv3.WithMaxModRev(s.rev(revs["max mod"])),
			clientv3.WithMinCreateRev(s.rev(revs["min create"])), clientv3.WithMaxCreateRev(s.rev(revs["max create"])))...)
	}
}

func (w *world) drawDelete() (string, func(*side) clientv3.Op) {
	key := w.drawKey()
	opts, text := w.drawRange()
	if del := clientv3.OpDelete(key, opts...); w.inTxn && string(del.RangeBytes()) == "\x00" {
		opts, text = nil, ""
	}
	if w.chance(50, "prev") {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return fmt.Sprintf("delete %q%s", key, text), func(*side) clientv3.Op { return clientv3.OpDelete(key, opts...) }
}

func (w *world) drawCompare() (string, func(*side) clientv3.Cmp) {
	key := w.drawKey()
	target := rapid.SampledFrom(compares).Draw(w.t, "compare")
	result := rapid.SampledFrom(results).Draw(w.t, "result")
	shape := rapid.SampledFrom([]string{"", "", "", "prefix", "range"}).Draw(w.t, "shape")
	value, number, rev, end := "", int64(0), int64(0), ""
	switch target {
	case "value":
		value = rapid.SampledFrom(values).Draw(w.t, "value")
	case "version":
		number = rapid.Int64Range(0, 3).Draw(w.t, "version")
	case "lease":
		number = int64(w.drawLeaseIndex()) - 1
	default:
		rev = max(0, w.drawRev())
	}
	if shape == "range" {
		end = w.drawKey()
	}
	text := fmt.Sprintf("%s(%q %s%q) %s %q%d", target, key, shape, end, result, value, number+rev)
	return text, func(s *side) clientv3.Cmp {
		var c clientv3.Cmp
		switch target {
		case "value":
			c = clientv3.Compare(clientv3.Value(key), result, value)
		case "version":
			c = clientv3.Compare(clientv3.Version(key), result, number)
		case "lease":
			var id clientv3.LeaseID // -1 stands for none
			if number >= 0 {
				id = s.lease(int(number))
			}
			if result == "<" || result == ">" {
				id = 0 // leases of the two sides do not sort alike
			}
			c = clientv3.Compare(clientv3.LeaseValue(key), result, id)
		case "create":
			c = clientv3.Compare(clientv3.CreateRevision(key), result, s.rev(rev))
		case "mod":
			c = clientv3.Compare(clientv3.ModRevision(key), result, s.rev(rev))
		}
		switch {
		case shape == "prefix":
			return c.WithPrefix()
		case shape == "range":
			return c.WithRange(end)
		}
		return c
	}
}

func (w *world) drawTxn(depth int) (string, func(*side) clientv3.Op) {
	var texts []string
	var cmps []func(*side) clientv3.Cmp
	for range rapid.IntRange(0, 2).Draw(w.t, "compares") {
		text, c := w.drawCompare()
		texts, cmps = append(texts, "if "+text), append(cmps, c)
	}
	var branches [2][]func(*side) clientv3.Op
	for i, word := range []string{"then ", "else "} {
		for range rapid.IntRange(0, 4-i).Draw(w.t, word+"operations") {
			text, op := w.drawOp(depth - 1)
			texts, branches[i] = append(texts, word+text), append(branches[i], op)
		}
	}
	return "txn[" + strings.Join(texts, "; ") + "]", func(s *side) clientv3.Op {
		var made [2][]clientv3.Op
		for i := range branches {
			for _, op := range branches[i] {
				made[i] = append(made[i], op(s))
			}
		}
		var cs []clientv3.Cmp
		for _, c := range cmps {
			cs = append(cs, c(s))
		}
		return clientv3.OpTxn(cs, made[0], made[1])
	}
}

// drawLimits draws an operation at etcd's limits.
func (w *world) drawLimits() operation {
	if w.chance(15, "large") {
		size := rapid.SampledFrom([]int{1<<20 + 1<<19 - 150, 1<<20 + 1<<19 + 50, 2<<20 + 50}).Draw(w.t, "size")
		return opOf(fmt.Sprintf("put of %d bytes", size), func(*side) clientv3.Op {
			return clientv3.OpPut("a", strings.Repeat("x", size))
		})
	}
	if w.chance(50, "group") {
		return w.drawGroup()
	}
	outer := rapid.SampledFrom([]int{1, 27, 28, 100, 127, 128, 129}).Draw(w.t, "outer")
	inner := rapid.SampledFrom([]int{0, 1, 28, 100, 101, 127, 128}).Draw(w.t, "inner")
	return opOf(fmt.Sprintf("%d transactions of %d operations", outer, inner), func(*side) clientv3.Op {
		var gets, txns []clientv3.Op
		for range inner {
			gets = append(gets, clientv3.OpGet("a", clientv3.WithCountOnly()))
		}
		for range outer {
			txns = append(txns, clientv3.OpTxn(nil, nil, nil))
		}
		txns[0] = clientv3.OpTxn(nil, gets, nil)
		return clientv3.OpTxn(nil, txns, nil)
	})
}

// drawGroup draws a group of small transactions in one, as a group commit sends
// it. Keys may come twice: two puts, or a put after a delete, are refused, a
// delete after a put is not.
func (w *world) drawGroup() operation {
	ids := rapid.SliceOfN(rapid.IntRange(0, 60), 1, 40).Draw(w.t, "keys")
	deletes := rapid.Bool().Draw(w.t, "some delete")
	return opOf(fmt.Sprintf("group of %v, some delete: %v", ids, deletes), func(*side) clientv3.Op {
		var group []clientv3.Op
		for i, id := range ids {
			key := fmt.Sprintf("a/%d", id)
			then := clientv3.OpPut(key, "owner")
			if deletes && i >= len(ids)/2 {
				then = clientv3.OpDelete(key, clientv3.WithPrevKV())
			}
			group = append(group, clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.Version(key), "=", 0)},
				[]clientv3.Op{then}, []clientv3.Op{clientv3.OpGet(key)}))
		}
		return clientv3.OpTxn(nil, group, nil)
	})
}

// drawLeaseOp draws a lease operation. No lease of a test expires by itself:
// that would be a matter of time.
func (w *world) drawLeaseOp() operation {
	i := w.drawLeaseIndex()
	switch kind := rapid.SampledFrom([]string{"grant", "grant", "revoke", "revoke", "ttl", "renew", "list", "short"}).Draw(w.t, "lease operation"); kind {
	case "grant":
		ttl := rapid.SampledFrom([]int64{300, 1000, 9_000_000_000, 9_000_000_001}).Draw(w.t, "ttl")
		return operation{fmt.Sprintf("grant %ds", ttl), func(ctx context.Context, s *side) string {
			resp, err := s.Grant(ctx, ttl)
			if err != nil {
				return dumpError(err)
			}
			s.granted(resp.ID)
			return fmt.Sprintf("lease %d %s %q", resp.TTL, s.dumpHeader(resp.ResponseHeader), resp.Error)
		}}
	case "short":
		ttl := rapid.Int64Range(-1, 1).Draw(w.t, "ttl")
		return operation{fmt.Sprintf("grant %ds and revoke", ttl), func(ctx context.Context, s *side) string {
			resp, err := s.Grant(ctx, ttl)
			if err != nil {
				return dumpError(err)
			}
			_, err = s.Revoke(ctx, resp.ID)
			return fmt.Sprint(resp.TTL, err)
		}}
	case "revoke":
		return operation{fmt.Sprintf("revoke %d", i), func(ctx context.Context, s *side) string {
			resp, err := s.Revoke(ctx, s.lease(i))
			if err != nil {
				return dumpError(err)
			}
			return s.dumpHeader(resp.Header)
		}}
	case "ttl":
		return operation{fmt.Sprintf("time to live of %d", i), func(ctx context.Context, s *side) string {
			resp, err := s.TimeToLive(ctx, s.lease(i), clientv3.WithAttachedKeys())
			if err != nil {
				return dumpError(err)
			}
			attached := slices.SortedFunc(slices.Values(resp.Keys), slices.Compare[[]byte])
			left := resp.TTL == resp.GrantedTTL || resp.TTL > resp.GrantedTTL-60
			return fmt.Sprintf("%s id %v granted %d left %v gone %v %q", s.dumpHeader(resp.ResponseHeader),
				resp.ID == s.lease(i), resp.GrantedTTL, left, resp.TTL == -1, attached)
		}}
	case "renew":
		return operation{fmt.Sprintf("renew %d", i), func(ctx context.Context, s *side) string {
			resp, err := s.KeepAliveOnce(ctx, s.lease(i))
			if err != nil {
				return dumpError(err)
			}
			return fmt.Sprintf("%s %d %v", s.dumpHeader(resp.ResponseHeader), resp.TTL, resp.ID == s.lease(i))
		}}
	}
	return operation{"list leases", func(ctx context.Context, s *side) string {
		resp, err := s.Leases(ctx)
		if err != nil {
			return dumpError(err)
		}
		var live []int
		for _, l := range resp.Leases {
			live = append(live, s.leaseIndex(l.ID))
		}
		slices.Sort(live) // the order is that of expiry, down to nanoseconds
		return fmt.Sprint(s.dumpHeader(resp.ResponseHeader), live)
	}}
}
