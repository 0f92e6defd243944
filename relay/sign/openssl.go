//go:build openssl

package sign

/*
#cgo pkg-config: libcrypto
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static EVP_PKEY *load(const unsigned char *der, long n, unsigned long *err) {
	EVP_PKEY *k = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, n);
	if (k == NULL) *err = ERR_get_error();
	ERR_clear_error();
	return k;
}

// sign makes a PKCS#1 v1.5 signature. What went wrong is asked in the same call: OpenSSL
// remembers it for the thread.
static int sign(EVP_PKEY *k, const EVP_MD *md, const unsigned char *hash, size_t nhash, unsigned char *sig, size_t *nsig, unsigned long *err) {
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
	int ok = c != NULL && EVP_PKEY_sign_init(c) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(c, md) > 0 &&
		EVP_PKEY_sign(c, sig, nsig, hash, nhash) > 0;
	EVP_PKEY_CTX_free(c);
	if (!ok) *err = ERR_get_error();
	ERR_clear_error();
	return ok;
}
*/
import "C"

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// byOpenSSL is an RSA key that OpenSSL signs with: the same signature, in a quarter of the
// time that crypto/rsa takes. The key in its hands is made once and never changed, so that
// many may sign at once.
type byOpenSSL struct {
	public crypto.PublicKey
	key    *C.EVP_PKEY
}

// quick is the signer of an RSA key.
func quick(k *rsa.PrivateKey) (crypto.Signer, error) {
	der := x509.MarshalPKCS1PrivateKey(k)
	defer clear(der)
	var code C.ulong
	key := C.load((*C.uchar)(&der[0]), C.long(len(der)), &code)
	if key == nil {
		return nil, fmt.Errorf("OpenSSL does not take the key: %s", reason(code))
	}
	s := &byOpenSSL{k.Public(), key}
	runtime.AddCleanup(s, func(key *C.EVP_PKEY) { C.EVP_PKEY_free(key) }, key)
	return s, nil
}

func (s *byOpenSSL) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256 digest by PKCS#1 v1.5, which is all that DKIM knows of RSA (RFC 6376
// section 3.3.1). It needs no random numbers.
func (s *byOpenSSL) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if _, pss := o.(*rsa.PSSOptions); pss || o.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, fmt.Errorf("OpenSSL signer: %T of %v over %d octets: expected PKCS#1 v1.5 of SHA-256", o, o.HashFunc(), len(digest))
	}
	n := C.size_t(s.public.(*rsa.PublicKey).Size())
	sig := make([]byte, n)
	var code C.ulong
	ok := C.sign(s.key, C.EVP_sha256(), (*C.uchar)(unsafe.SliceData(digest)), C.size_t(len(digest)), (*C.uchar)(&sig[0]), &n, &code)
	runtime.KeepAlive(s)
	if ok == 0 {
		return nil, fmt.Errorf("OpenSSL signer: %s", reason(code))
	}
	return sig[:n], nil
}

// reason of an error of OpenSSL, in its words.
func reason(code C.ulong) string {
	var text [256]C.char
	C.ERR_error_string_n(code, &text[0], C.size_t(len(text)))
	return C.GoString(&text[0])
}
