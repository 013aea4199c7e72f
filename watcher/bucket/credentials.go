package bucket

import (
	"errors"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

var errNoCredentials = errors.New("there are no credentials: neither in the settings, nor in the environment " +
	"(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), nor in the shared file (~/.aws/credentials), nor has the machine a role; " +
	"for a public bucket, ask anonymously")

func (o Options) checkCredentials() error {
	switch {
	case o.Anonymous && (o.AccessKey != "" || o.SecretKey != "" || o.SessionToken != ""):
		return errors.New("there are credentials, though it is to be asked anonymously")
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return errors.New("the access key and the secret key are needed both, or neither")
	case o.AccessKey == "" && o.SessionToken != "":
		return errors.New("there is a session token, but no keys")
	}
	return nil
}

// credentials must not ask anybody: New calls it.
func (o Options) credentials() *credentials.Credentials {
	switch {
	case o.Anonymous:
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	case o.AccessKey != "":
		return credentials.NewStaticV4(o.AccessKey, string(o.SecretKey), string(o.SessionToken))
	}
	return credentials.New(&chain{credentials.Chain{Providers: []credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{},
	}}})
}

// chain is the first of several providers that has credentials. Unlike the
// Chain in it, which asks anonymously in the end, it fails when none has.
type chain struct{ credentials.Chain }

func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	return refuseNone(c.Chain.RetrieveWithCredContext(cc))
}

func (c *chain) Retrieve() (credentials.Value, error) { return refuseNone(c.Chain.Retrieve()) }

func refuseNone(v credentials.Value, err error) (credentials.Value, error) {
	if err == nil && v.AccessKeyID == "" {
		err = errNoCredentials
	}
	return v, err
}
