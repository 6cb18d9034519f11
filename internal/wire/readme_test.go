package wire_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/wire"
)

const readmeFile = "../../client/README.md"

var generated = regexp.MustCompile(`(?s)(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)`)

// TestSpecification compares the tables and the byte examples of client/README.md with the code, and writes them with -rewrite or
// REWRITE=1. The columns of meaning are the comments of the fields.
func TestSpecification(t *testing.T) {
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	s := readSource(t)
	parts := map[string]func(*strings.Builder){
		"connection": func(b *strings.Builder) { s.messages(t, b, 0x01, 0x0f) },
		"requests":   func(b *strings.Builder) { s.messages(t, b, 0x10, 0x3f) },
		"pushes":     func(b *strings.Builder) { s.messages(t, b, 0x40, 0x5f) },
		"nodes":      func(b *strings.Builder) { s.messages(t, b, 0x60, 0x7f) },
		"replies":    func(b *strings.Builder) { s.messages(t, b, 0x80, 0xff) },
		"structs":    s.structs,
		"metadata":   func(b *strings.Builder) { s.table(b, reflect.TypeFor[wire.Metadata]()) },
		"outcomes":   func(b *strings.Builder) { s.codes(b, 0, 99) },
		"failures":   func(b *strings.Builder) { s.codes(b, 100, 1<<16-1) },
		"values":     s.values,
		"constants":  constants,
	}
	now := generated.ReplaceAllStringFunc(string(text), func(block string) string {
		m := generated.FindStringSubmatch(block)
		write := parts[m[2]]
		if write == nil {
			t.Fatalf("nothing generates %q", m[2])
		}
		delete(parts, m[2])
		var b strings.Builder
		b.WriteString(m[1] + "\n")
		write(&b)
		return b.String() + "\n" + m[3]
	})
	for name := range parts {
		t.Errorf("the specification has no place for %q", name)
	}
	if *rewrite || os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(readmeFile, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), now); diff != "" {
		t.Errorf("client/README.md does not say what the code does; run with -rewrite (-document +code):\n%s", diff)
	}
}

// source is what the comments of the package say.
type source struct {
	docs   map[string]string            // of types
	fields map[string]map[string]string // of structs, by the name of the field
	consts []constant                   // in the order of the source
}

type constant struct{ typ, name, value, comment string }

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{docs: map[string]string{}, fields: map[string]map[string]string{}}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok {
				s.read(d)
			}
		}
	}
	return s
}

func (s *source) read(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			s.docs[spec.Name.Name] = strings.Join(strings.Fields(d.Doc.Text()), " ")
			if st, ok := spec.Type.(*ast.StructType); ok {
				s.fields[spec.Name.Name] = map[string]string{}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						s.fields[spec.Name.Name][n.Name] = strings.TrimSpace(f.Comment.Text())
					}
				}
			}
		case *ast.ValueSpec:
			typ, named := spec.Type.(*ast.Ident)
			if d.Tok != token.CONST || !named || len(spec.Values) != 1 {
				continue
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
				s.consts = append(s.consts, constant{typ.Name, spec.Names[0].Name, lit.Value, strings.TrimSpace(spec.Comment.Text())})
			}
		default:
		}
	}
}

// messages writes the messages of a range of types: what they mean, their fields, the bytes of an example.
func (s *source) messages(t *testing.T, b *strings.Builder, from, to wire.Type) {
	all := examples()
	slices.SortFunc(all, func(x, y wire.Message) int { return int(x.Type()) - int(y.Type()) })
	for i, m := range slices.DeleteFunc(all, func(m wire.Message) bool { return m.Type() < from || m.Type() > to }) {
		if i > 0 {
			b.WriteString("\n")
		}
		of := reflect.TypeOf(m).Elem()
		fmt.Fprintf(b, "### 0x%02x %s\n\n%s\n\n", uint8(m.Type()), of.Name(), s.docs[of.Name()])
		s.table(b, of)
		raw := frame(t, m)
		b.WriteString("\n```\n")
		line(b, 0, raw[:4], "length: %d", len(raw)-4)
		line(b, 0, raw[4:5], "type: %s", of.Name())
		if rest := explain(t, b, 0, of, "", raw[5:]); len(rest) > 0 {
			t.Fatalf("%d bytes of %s are not explained", len(rest), of.Name())
		}
		b.WriteString("```\n")
	}
}

// structs writes the structs that messages contain.
func (s *source) structs(b *strings.Builder) {
	var found []reflect.Type
	var visit func(reflect.Type)
	visit = func(of reflect.Type) {
		switch {
		case of.Kind() == reflect.Slice:
			visit(of.Elem())
		case of.Kind() == reflect.Struct && !slices.Contains(found, of):
			found = append(found, of)
			for f := range of.Fields() {
				visit(f.Type)
			}
		default:
		}
	}
	for _, m := range examples() {
		for f := range reflect.TypeOf(m).Elem().Fields() {
			visit(f.Type)
		}
	}
	found = slices.DeleteFunc(found, func(of reflect.Type) bool { // KeepAlive is a message too
		_, is := reflect.TypeAssert[wire.Message](reflect.New(of))
		return is
	})
	slices.SortFunc(found, func(x, y reflect.Type) int { return strings.Compare(x.Name(), y.Name()) })
	for i, of := range found {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "### %s\n\n%s\n\n", of.Name(), s.docs[of.Name()])
		s.table(b, of)
	}
}

// table writes the fields of a struct.
func (s *source) table(b *strings.Builder, of reflect.Type) {
	b.WriteString("| # | field | value | meaning |\n|---|---|---|---|\n")
	for i := range of.NumField() {
		f := of.Field(i)
		meaning := s.fields[of.Name()][f.Name]
		if meaning == "" {
			meaning = fmt.Sprintf("(%s.%s has no comment)", of.Name(), f.Name)
		}
		fmt.Fprintf(b, "| %d | %s | %s | %s |\n", i, snake(f.Name), valueOf(f.Type, f.Tag.Get("wire")), meaning)
	}
}

// valueOf describes what a field may carry.
func valueOf(of reflect.Type, tag string) string {
	atMost := func(tag string) string {
		if exact, ok := strings.CutPrefix(tag, "="); ok {
			return "of " + exact
		}
		return "≤ " + tag
	}
	own, elem, _ := strings.Cut(tag, ",")
	switch {
	case of == reflect.TypeFor[time.Duration]():
		return "duration"
	case of == reflect.TypeFor[wire.ID]():
		return "id"
	case of == reflect.TypeFor[wire.TraceContext]():
		return "trace"
	case of.PkgPath() != "":
		return of.Name()
	case of.Kind() == reflect.Uint32:
		return "uint < 2^32"
	case of.Kind() == reflect.Uint64:
		return "uint"
	case of.Kind() == reflect.String:
		return "string " + atMost(own)
	case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Uint8:
		return "bin " + atMost(own)
	case of.Kind() == reflect.Slice:
		return fmt.Sprintf("list %s of %s", atMost(own), valueOf(of.Elem(), elem))
	default:
		return of.Kind().String()
	}
}

// codes writes the codes of a range.
func (s *source) codes(b *strings.Builder, from, to int) {
	b.WriteString("| code | name | meaning | what to do |\n|---|---|---|---|\n")
	for _, c := range s.consts {
		var n int
		if _, err := fmt.Sscan(c.value, &n); c.typ != "Code" || err != nil || n < from || n > to {
			continue
		}
		fmt.Fprintf(b, "| %d | %v | %s | %v |\n", n, wire.Code(n), c.comment, wire.Code(n).Advice())
	}
}

// values writes the numbers that stand for something.
func (s *source) values(b *strings.Builder) {
	b.WriteString("| type | values |\n|---|---|\n")
	for _, typ := range []string{"Role", "Mode", "Verdict", "Validity", "How"} {
		var all []string
		for _, c := range s.consts {
			if c.typ == typ {
				text := c.value + " " + strings.ReplaceAll(snake(strings.TrimPrefix(c.name, "Role")), "_", " ")
				if c.comment != "" {
					text += " (" + c.comment + ")"
				}
				all = append(all, text)
			}
		}
		fmt.Fprintf(b, "| %s | %s |\n", typ, strings.Join(all, "; "))
	}
}

// constants writes the limits of what is read or sent in one piece.
func constants(b *strings.Builder) {
	b.WriteString("| limit | value |\n|---|---|\n")
	for _, c := range []struct {
		what  string
		value int
	}{
		{"length of a frame", wire.FrameMax},
		{"length of a frame before Welcome", wire.HelloMax},
		{"how far seq may be above acked", wire.WindowMax},
		{"waits named as seen in one request", limitOf[wire.Request]("Seen")},
		{"names of one Acquire", limitOf[wire.Acquire]("Names")},
		{"tokens of one CheckTokens", wire.TokensMax},
		{"entries of one reply", wire.MostMax},
		{"bytes of metadata", wire.MetadataMax},
		{"KeepAlives of one Digest", wire.DigestMax},
		{"commands of one Forward", wire.ForwardMax},
		{"bytes of one Command", wire.CommandMax},
	} {
		fmt.Fprintf(b, "| %s | %d |\n", c.what, c.value)
	}
}

func limitOf[T any](field string) int {
	f, ok := reflect.TypeFor[T]().FieldByName(field)
	if !ok {
		panic(field)
	}
	return limits(f.Tag.Get("wire"))[0]
}

// TestConstantsAreTheLimits compares the constants with the limits of the fields that they are said to be.
func TestConstantsAreTheLimits(t *testing.T) {
	for _, c := range []struct{ constant, field int }{
		{wire.TokensMax, limitOf[wire.CheckTokens]("Tokens")},
		{wire.TokensMax, limitOf[wire.TokensReply]("Checks")},
		{wire.MostMax, limitOf[wire.ListReply]("Locks")},
		{wire.MostMax, limitOf[wire.SessionReply]("Sessions")},
		{wire.MostMax, limitOf[wire.Lock]("Holders")},
		{wire.MostMax, limitOf[wire.Lock]("Waiters")},
		{wire.MetadataMax, limitOf[wire.Acquire]("Metadata")},
		{wire.DigestMax, limitOf[wire.Digest]("KeepAlives")},
		{wire.DigestMax, limitOf[wire.DigestAnswer]("Confirmations")},
		{wire.ForwardMax, limitOf[wire.Forward]("Commands")},
		{wire.ForwardMax, limitOf[wire.Forwarded]("Results")},
		{wire.CommandMax, limitOf[wire.Command]("Data")},
	} {
		if c.constant != c.field {
			t.Errorf("a constant says %d, its field %d", c.constant, c.field)
		}
	}
}
