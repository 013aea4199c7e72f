package bucket

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

const hookSecret = "s3cret-of-the-hook"

// The notifications as the servers' documentation has them, shortened to what
// they all hold.
var notifications = map[string]struct {
	body string
	want string // the tree that a hint is given at; "-": none
}{
	"Amazon S3":     {`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0","bucket":{"name":"isos","arn":"arn:aws:s3:::isos"},"object":{"key":"public/red+flower%281%29.iso","size":1024,"eTag":"d41d8cd98f00b204e9800998ecf8427e","sequencer":"0055AED6DCD90281E5"}}}]}`, "red flower(1).iso"},
	"in SNS":        {`{"Type":"Notification","MessageId":"22b80b92","TopicArn":"arn:aws:sns:us-west-2:123456789012:t","Message":"{\"Records\":[{\"s3\":{\"bucket\":{\"name\":\"isos\"},\"object\":{\"key\":\"public/set/a.bin\"}}}]}","SignatureVersion":"1"}`, "set"},
	"EventBridge":   {`{"version":"0","id":"17793124","detail-type":"Object Created","source":"aws.s3","detail":{"version":"0","bucket":{"name":"isos"},"object":{"key":"public/a+b.iso","size":5},"reason":"PutObject"}}`, "a+b.iso"},
	"MinIO":         {`{"EventName":"s3:ObjectCreated:Put","Key":"isos/public/x.iso","Records":[{"eventVersion":"2.0","eventSource":"minio:s3","s3":{"bucket":{"name":"isos"},"object":{"key":"public%2Fx.iso"}}}]}`, "x.iso"},
	"Ceph":          {`{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"isos","id":"1"},"object":{"key":"public/gone.iso","versionId":""}},"opaqueData":""}]}`, "gone.iso"},
	"Backblaze":     {`{"events":[{"accountId":"e85c6a5d","bucketName":"isos","eventType":"b2:ObjectCreated:Upload","objectName":"public/a b.iso","objectSize":10495842}]}`, "a b.iso"},
	"nothing said":  {"", ""},
	"S3's test":     {`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"isos"}`, "-"},
	"B2's test":     {`{"events":[{"bucketName":"isos","eventType":"b2:TestEvent","objectName":null}]}`, "-"},
	"other bucket":  {`{"Records":[{"s3":{"bucket":{"name":"other"},"object":{"key":"public/x.iso"}}}]}`, "-"},
	"other prefix":  {`{"Records":[{"s3":{"bucket":{"name":"isos"},"object":{"key":"private/x.iso"}}}]}`, "-"},
	"left out":      {`{"Records":[{"s3":{"bucket":{"name":"isos"},"object":{"key":"public/.hidden"}}}]}`, "-"},
	"unsubscribed":  {`{"Type":"UnsubscribeConfirmation","Message":"You have chosen","SubscribeURL":"https://sns.us-west-2.amazonaws.com/"}`, "-"},
	"not escaped":   {`{"Records":[{"s3":{"bucket":{"name":"isos"},"object":{"key":"public/100%.iso"}}}]}`, "100%.iso"},
	"several trees": {`{"Records":[{"s3":{"bucket":{"name":"other"},"object":{"key":"public/y"}}},{"s3":{"bucket":{"name":"isos"},"object":{"key":"public/z"}}}]}`, "z"},
}

func hooked(t testing.TB) (*Bucket, *hook) {
	t.Helper()
	b := newBucket(t, Options{Endpoint: "http://127.0.0.1:1", Bucket: "isos", Prefix: "public", AccessKey: "a", SecretKey: "b"})
	return b, b.Hook(hookSecret).(*hook)
}

func post(h http.Handler, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/hooks/s3/isos?secret="+hookSecret, strings.NewReader(body))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHookTakesWhatServersSend(t *testing.T) {
	for name, c := range notifications {
		b, h := hooked(t)
		if w := post(h, c.body); w.Code != http.StatusNoContent {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		got, ok := b.hints.take()
		if !ok {
			got = "-"
		}
		if got != c.want {
			t.Errorf("%s: a hint at %q, want %q", name, got, c.want)
		}
	}
}

func TestHookRefusesWhatItCannotUse(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"no JSON":     {"<xml/>", http.StatusBadRequest},
		"no object":   {`{"hello":"world"}`, http.StatusBadRequest},
		"a number":    {`7`, http.StatusBadRequest},
		"SNS of text": {`{"Type":"Notification","Message":"hello"}`, http.StatusBadRequest},
		"too long":    {`{"Records":"` + strings.Repeat("x", hookMost) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		b, h := hooked(t)
		if w := post(h, c.body); w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.status)
		}
		if name, ok := b.hints.take(); ok {
			t.Errorf("%s: a hint at %q", name, name)
		}
	}
	_, h := hooked(t)
	if w := post(h, "", func(r *http.Request) { r.Method = http.MethodGet }); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestHookWantsTheSecret(t *testing.T) {
	noQuery := func(r *http.Request) { r.URL.RawQuery = "" }
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"in the URL":     {func(*http.Request) {}, http.StatusNoContent},
		"bearer":         {func(r *http.Request) { noQuery(r); r.Header.Set("Authorization", "Bearer "+hookSecret) }, http.StatusNoContent},
		"password":       {func(r *http.Request) { noQuery(r); r.SetBasicAuth("any", hookSecret) }, http.StatusNoContent},
		"none":           {noQuery, http.StatusUnauthorized},
		"wrong":          {func(r *http.Request) { r.URL.RawQuery = "secret=guess" }, http.StatusUnauthorized},
		"a part":         {func(r *http.Request) { r.URL.RawQuery = "secret=" + hookSecret[:5] }, http.StatusUnauthorized},
		"wrong bearer":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer guess") }, http.StatusUnauthorized},
		"wrong password": {func(r *http.Request) { r.SetBasicAuth(hookSecret, "") }, http.StatusUnauthorized},
	} {
		b, h := hooked(t)
		if w := post(h, "", c.change); w.Code != c.status {
			t.Errorf("%s: %d, want %d", name, w.Code, c.status)
		}
		if _, ok := b.hints.take(); ok != (c.status == http.StatusNoContent) {
			t.Errorf("%s: a hint: %v", name, ok)
		}
	}
}

// confirmations is a transport that notes what is asked.
type confirmations struct {
	asked  []string
	status int
}

func (c *confirmations) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked = append(c.asked, r.URL.String())
	return &http.Response{StatusCode: c.status, Status: strconv.Itoa(c.status), Body: io.NopCloser(&bytes.Buffer{}), Header: http.Header{"Location": {"http://169.254.169.254/"}}}, nil
}

func TestHookConfirmsSubscriptionsOfAmazonOnly(t *testing.T) {
	confirmation := func(link string) string {
		return `{"Type":"SubscriptionConfirmation","MessageId":"165545c9","Token":"2336412f37","TopicArn":"arn:aws:sns:us-west-2:123456789012:t","Message":"You have chosen to subscribe","SubscribeURL":"` + link + `"}`
	}
	const good = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:t&Token=2336412f37"
	for link, status := range map[string]int{
		good: http.StatusNoContent,
		"https://sns.cn-north-1.amazonaws.com.cn/?Action=ConfirmSubscription": http.StatusNoContent,
		"http://sns.us-west-2.amazonaws.com/":                                 http.StatusBadRequest,
		"https://169.254.169.254/latest/meta-data":                            http.StatusBadRequest,
		"https://sns.us-west-2.amazonaws.com.example.org/":                    http.StatusBadRequest,
		"https://sns.us-west-2.amazonaws.com:444/":                            http.StatusBadRequest,
		"https://me@sns.us-west-2.amazonaws.com/":                             http.StatusBadRequest,
		"https://s3.us-west-2.amazonaws.com/bucket":                           http.StatusBadRequest,
		"": http.StatusNoContent, // asks for nothing, and names nothing
	} {
		_, h := hooked(t)
		c := &confirmations{status: http.StatusOK}
		h.client.Transport = c
		if w := post(h, confirmation(link)); w.Code != status {
			t.Errorf("%q: %d %s, want %d", link, w.Code, w.Body, status)
		}
		if asked := status == http.StatusNoContent && link != ""; asked != (len(c.asked) == 1) || asked && c.asked[0] != link {
			t.Errorf("%q: asked %q", link, c.asked)
		}
	}
	for _, status := range []int{http.StatusForbidden, http.StatusFound} {
		_, h := hooked(t)
		c := &confirmations{status: status}
		h.client.Transport = c
		if w := post(h, confirmation(good)); w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "2336412f37") || len(c.asked) != 1 {
			t.Errorf("answered with %d: %d %s, asked %q", status, w.Code, w.Body, c.asked)
		}
	}
}

func FuzzNotification(f *testing.F) {
	for _, c := range notifications {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := parseNotice(body)
		if err != nil && (n.any || n.confirm != "" || len(n.changes) > 0) {
			t.Errorf("%v beside %+v", err, n)
		}
		if err == nil && n.any != (len(body) == 0) {
			t.Errorf("%q is a hint at everything: %v", body, n.any)
		}
	})
}
