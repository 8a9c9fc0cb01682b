package metafora_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeShowsTheExampleThatIsTested(t *testing.T) {
	_, example, ok := strings.Cut(readFile(t, "example_embed_test.go"), "\nfunc Example_embed")
	if !ok {
		t.Fatal("there is no Example_embed")
	}
	if !strings.Contains(readFile(t, "README.md"), "```go\nfunc Example_embed"+example+"```\n") {
		t.Error("README.md does not show the function of example_embed_test.go as it is there")
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	command = regexp.MustCompile(`go (?:run|build)[^\n]* \./[a-z/]+`)
	program = regexp.MustCompile(`\./[a-z/]+`)
)

func TestLinksAndCommandsOfTheDocumentationLeadSomewhere(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no documentation (%v)", err)
	}
	for _, doc := range append(docs, "README.md") {
		text := readFile(t, doc)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
		for _, cmd := range command.FindAllString(text, -1) {
			for _, dir := range program.FindAllString(cmd, -1) {
				if _, err := os.Stat(dir); err != nil {
					t.Errorf("%s: %s: %v", doc, cmd, err)
				}
			}
		}
	}
}

func TestReadmeListsEachPageOfTheDocumentation(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	_, index, _ := strings.Cut(readFile(t, "README.md"), "\n## Documentation\n")
	for _, doc := range docs {
		if !strings.Contains(index, "("+doc+")") {
			t.Errorf("the index of README.md lacks %s", doc)
		}
	}
}
