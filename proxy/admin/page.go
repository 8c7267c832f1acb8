package admin

import (
	"bytes"
	"embed"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"time"
)

// web is the page: HTML, CSS and JavaScript as they are served.
//
//go:embed web
var web embed.FS

// pagePolicy lets the page load what is beside it and ask this port, and nothing
// else. Trusted types have the browser refuse to make markup of text, wherever the
// text comes from.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// servePage adds the page to a mux: / and what it consists of below /page/. At its
// foot it has links to the others.
func servePage(mux *http.ServeMux, others []page) {
	const document = "index.html"
	files, _ := fs.Sub(web, "web") // it is embedded
	names, _ := fs.Glob(files, "*")
	for _, name := range names {
		content, _ := fs.ReadFile(files, name)
		if name == document {
			mux.Handle("/{$}", asset(name, bytes.Replace(content, []byte("<!--pages-->"), links(others), 1)))
			continue
		}
		mux.Handle("/page/"+name, asset(name, content))
	}
}

// asset serves a file of the page.
func asset(name string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	})
}

// links are those to the other pages.
func links(others []page) []byte {
	var b bytes.Buffer
	b.WriteString("<ul>")
	for _, p := range others {
		at := html.EscapeString(p.path)
		fmt.Fprintf(&b, `<li><a href="%s" title="%s">%s</a></li>`, at, html.EscapeString(p.what), at)
	}
	b.WriteString("</ul>")
	return b.Bytes()
}
