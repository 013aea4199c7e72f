package configs

import (
	"fmt"
	"strings"
	"testing"
)

func TestBadAccessIsOneProblemThatNamesIt(t *testing.T) {
	const token = "viewer-token-0123456789"
	for _, row := range []struct {
		yaml, key string
		texts     []string
	}{
		{"access: {catalog: private}", "access.catalog", []string{"nobody may see it", "accounts, operators, tokens"}},
		{"access: {catalog: local}", "access.catalog", []string{"public or private"}},
		{"access: {catalog: secret}", "access.catalog", []string{"public, local or private", `"secret"`}},
		{"access: {operator: private}", "access.operator", []string{"nobody may see it"}},
		{"access: {operator: private, catalog: private, tokens: [" + token + "]}", "access.operator", []string{"nobody may see it"}},
		{"access: {accounts: file}", "access.catalog", []string{"keep nobody out", "catalog: private"}},
		{"access: {tokens: [" + token + "]}", "access.catalog", []string{"keep nobody out"}},
		{"access: {operators: file}", "access.operator", []string{"public, so", "operator: private"}},
		{"access: {operator: local, operators: file}", "access.operator", []string{"local, so", "operator: private"}},
		{"access: {catalog: private, tokens: [short]}", "access.tokens", []string{"16 to 200", "number 1", "openssl rand -hex 16"}},
		{"access: {catalog: private, tokens: [" + token + ", 'with a slash/0123456789']}", "access.tokens", []string{"letters, digits and - . _ ~", "number 2"}},
		{"access: {catalog: private, tokens: [" + token + "], operator_tokens: [" + token + "]}", "access.operator_tokens", []string{"other tokens"}},
		{"http: {tls: {cert: c.pem}}", "http.tls.key", []string{"missing"}},
		{"http: {tls: {key: k.pem}}", "http.tls.cert", []string{"missing"}},
		{"http: {tls: {cert: c.pem, key: k.pem}, acme: {domains: [a.example]}}", "http.acme.domains", []string{"either"}},
		{"http: {tls: {cert: c.pem, key: k.pem}, public_url: 'http://a.example'}", "http.public_url", []string{"https://"}},
		{"http: {public_url: 'https://a.example/token/x'}", "http.public_url", []string{"another path"}},
		{"http: {acme: {domains: ['a.example:443']}}", "http.acme.domains", []string{`"a.example:443"`, "without port"}},
		{"http: {acme: {domains: [localhost]}}", "http.acme.domains", []string{"dl.example.org"}},
		{"http: {acme: {domains: ['*.a.example']}}", "http.acme.domains", []string{`"*.a.example"`}},
		{"http: {acme: {email: a@b.example}}", "http.acme.domains", []string{"missing"}},
		{"http: {acme: {domains: [a.example], email: nobody}}", "http.acme.email", []string{`"nobody"`, "admin@example.org"}},
		{"http: {acme: {domains: [a.example], directory: 'http://a'}}", "http.acme.directory", []string{"https://"}},
		{"http: {redirect: ':80'}", "http.redirect", []string{"only with http.tls or http.acme"}},
		{"http: {redirect: '80', acme: {domains: [a.example]}}", "http.redirect", []string{"HOST:PORT"}},
		{"limits: {requests: {rate: -1}}", "limits.requests.rate", []string{"got -1"}},
		{"limits: {requests: {burst: 0}}", "limits.requests.burst", []string{"got 0"}},
	} {
		t.Run(row.yaml, func(t *testing.T) {
			_, err := load(t, row.yaml, nil, "drop")
			origin := "line 1"
			if strings.Contains(fmt.Sprint(err), row.key+": ") { // about what is not there
				origin = ""
			}
			checkOne(t, err, row.key, origin, row.texts)
			if strings.Contains(fmt.Sprint(err), token) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

func TestGoodAccessIsLoaded(t *testing.T) {
	c, err := load(t, "access: {catalog: private, operator: local, accounts: a}\nhttp: {acme: {domains: [a.example, B.example]}, redirect: ':80'}\nlimits: {requests: {rate: 0.5, burst: 3}}",
		map[string]string{"DROPSEED_ACCESS_TOKENS": "one-0123456789abcdef,two-0123456789abcdef"}, "drop")
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Access; a.Catalog != Private || a.Operator != Local || a.Accounts != "a" || len(a.Tokens) != 2 || a.Tokens[1].Reveal() != "two-0123456789abcdef" {
		t.Errorf("%+v", c.Access)
	}
	if !c.HTTP.Encrypted() || len(c.HTTP.ACME.Domains) != 2 || c.Limits.Requests != (Requests{0.5, 3}) {
		t.Errorf("%+v, %+v", c.HTTP, c.Limits)
	}
	if text := fmt.Sprintf("%v %+v", c, c); strings.Contains(text, "0123456789abcdef") {
		t.Errorf("it prints its tokens: %s", text)
	}
}
