package inspect

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
)

// sendList answers with a list: one JSON object, a line for each element, written
// as list calls its argument, so that a long list is never held as text.
func sendList[T any](w http.ResponseWriter, r *http.Request, node, name string, list func(emit func(T) error) (Rest, error)) {
	w.Header().Set("Content-Type", contentJSON)
	if r.Method == http.MethodHead {
		return
	}
	// An error is that of the connection, and nobody is left to be told.
	_ = writeList(w, node, name, list)
}

func writeList[T any](w io.Writer, node, name string, list func(emit func(T) error) (Rest, error)) error {
	out := bufio.NewWriterSize(w, 32<<10)
	// A write that fails makes all later ones fail, Flush too.
	write := func(before string, v any, after string) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, _ = out.WriteString(before)
		_, _ = out.Write(text)
		_, err = out.WriteString(after)
		return err
	}
	if err := write(`{"node":`, node, `,"`+name+`":[`); err != nil {
		return err
	}
	separator := "\n"
	rest, err := list(func(item T) error {
		defer func() { separator = ",\n" }()
		return write(separator, item, "")
	})
	if err != nil {
		return err
	}
	total, err := json.Marshal(rest)
	if err != nil {
		return err
	}
	_, _ = out.WriteString("\n],")
	_, _ = out.Write(total[1:]) // the object goes on
	_ = out.WriteByte('\n')
	return out.Flush()
}
