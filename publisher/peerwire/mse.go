package peerwire

import (
	"bytes"
	"crypto/rand"
	"crypto/rc4"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/anacrolix/torrent/types/infohash"
)

// Message Stream Encryption (https://wiki.vuze.com/w/Message_Stream_Encryption).
// It is our own since the library at hand tries every info-hash for every
// handshake that it answers, which takes 11 ms at 100,000 releases; here the
// caller looks the key up in an index.

const (
	mseKeyLen   = 96  // bytes of a public key
	msePadMost  = 512 // bytes of padding at the most
	msePlain    = 1   // crypto_provide, crypto_select: only the handshake is obfuscated
	mseRC4      = 2   // all of it
	mseSkipKeys = 1024
)

var (
	msePrime, _  = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563", 16)
	mseGenerator = big.NewInt(2)
)

// ErrNoKey says that a peer asked for a torrent that is not ours.
var ErrNoKey = errors.New("no torrent of ours has that key")

// Key is what an encrypted handshake shows of an info-hash.
func Key(ih infohash.T) [20]byte { return mseHash("req2", ih[:]) }

func mseHash(label string, parts ...[]byte) (sum [20]byte) {
	h := sha1.New()
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// acceptEncrypted answers an encrypted handshake; the plain one comes next.
func (c *Conn) acceptEncrypted(find KeyFinder) error {
	b, err := c.take(mseKeyLen)
	if err != nil {
		return err
	}
	theirs := new(big.Int).SetBytes(b)
	private, ours := mseNewKey()
	if _, err := c.raw.Write(ours); err != nil {
		return err
	}
	secret, err := mseSecret(private, theirs)
	if err != nil {
		return err
	}
	// The peer's padding ends where the hash of the secret begins.
	mark := mseHash("req1", secret)
	if err := c.skipTo(mark[:]); err != nil {
		return err
	}
	b, err = c.take(20)
	if err != nil {
		return err
	}
	key := mseHash("req3", secret)
	for i := range key {
		key[i] ^= b[i]
	}
	ih, ok := find(key)
	if !ok {
		return ErrNoKey
	}
	c.decryptWith(mseCipher("keyA", secret, ih))
	provide, err := c.readProposal()
	if err != nil {
		return err
	}
	return c.selectMethod(provide, mseCipher("keyB", secret, ih))
}

// mseNewKey makes a private key and the message that shows the public one.
func mseNewKey() (private *big.Int, message []byte) {
	var random [20 + 2 + msePadMost]byte
	rand.Read(random[:])
	private = new(big.Int).SetBytes(random[:20])
	pad := int(binary.BigEndian.Uint16(random[20:])) % (msePadMost + 1)
	message = make([]byte, mseKeyLen, mseKeyLen+msePadMost)
	new(big.Int).Exp(mseGenerator, private, msePrime).FillBytes(message)
	return private, append(message, random[22:22+pad]...)
}

// mseSecret returns the shared secret of a Diffie-Hellman exchange.
func mseSecret(private, theirs *big.Int) ([]byte, error) {
	if theirs.Cmp(big.NewInt(1)) <= 0 || theirs.Cmp(new(big.Int).Sub(msePrime, big.NewInt(1))) >= 0 {
		return nil, errors.New("the peer's key is degenerate")
	}
	return new(big.Int).Exp(theirs, private, msePrime).FillBytes(make([]byte, mseKeyLen)), nil
}

// openEncrypted begins an encrypted connection with a first payload.
func (c *Conn) openEncrypted(ih infohash.T, first []byte) error {
	private, ours := mseNewKey()
	if _, err := c.raw.Write(ours); err != nil {
		return err
	}
	b, err := c.take(mseKeyLen)
	if err != nil {
		return err
	}
	secret, err := mseSecret(private, new(big.Int).SetBytes(b))
	if err != nil {
		return err
	}
	mark, proof, key := mseHash("req1", secret), mseHash("req3", secret), Key(ih)
	for i := range proof {
		proof[i] ^= key[i]
	}
	c.enc = mseCipher("keyA", secret, ih)
	proposal := make([]byte, 8+4+2+2, 8+4+2+2+len(first)) // no padding
	binary.BigEndian.PutUint32(proposal[8:], mseRC4)      // who takes the plain way was asked that way before
	binary.BigEndian.PutUint16(proposal[14:], uint16(len(first)))
	proposal = append(proposal, first...)
	c.enc.XORKeyStream(proposal, proposal)
	if _, err := c.raw.Write(slices.Concat(mark[:], proof[:], proposal)); err != nil {
		return err
	}
	// The peer's padding ends where its verification constant begins: eight zeros, encrypted.
	dec := mseCipher("keyB", secret, ih)
	var constant [8]byte
	dec.XORKeyStream(constant[:], constant[:])
	if err := c.skipTo(constant[:]); err != nil {
		return err
	}
	c.decryptWith(dec)
	if b, err = c.take(4 + 2); err != nil {
		return err
	}
	if method := binary.BigEndian.Uint32(b); method != mseRC4 {
		return fmt.Errorf("it selected method %#x, which was not offered", method)
	}
	pad := int(binary.BigEndian.Uint16(b[4:]))
	if pad > msePadMost {
		return fmt.Errorf("%d bytes of padding: at most %d are allowed", pad, msePadMost)
	}
	_, err = c.take(pad)
	return err
}

// skipTo passes over at most msePadMost bytes and then mark.
func (c *Conn) skipTo(mark []byte) error {
	for n := len(mark); n <= msePadMost+len(mark); n = c.w - c.r + 1 {
		if err := c.need(n); err != nil {
			return err
		}
		window := c.buf[c.r:min(c.w, c.r+msePadMost+len(mark))]
		if i := bytes.Index(window, mark); i >= 0 {
			_, err := c.take(i + len(mark))
			return err
		}
	}
	return errors.New("it is neither a plain nor an encrypted handshake")
}

// readProposal reads what the peer is able to do, and passes over its padding.
// What follows is the peer's first payload.
func (c *Conn) readProposal() (provide uint32, err error) {
	b, err := c.take(8 + 4 + 2)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(b[:8], make([]byte, 8)) {
		return 0, errors.New("its verification constant is wrong")
	}
	provide = binary.BigEndian.Uint32(b[8:])
	pad := int(binary.BigEndian.Uint16(b[12:]))
	if pad > msePadMost {
		return 0, fmt.Errorf("%d bytes of padding: at most %d are allowed", pad, msePadMost)
	}
	if _, err := c.take(pad); err != nil {
		return 0, err
	}
	b, err = c.take(2)
	if err != nil {
		return 0, err
	}
	// The payload that comes with the handshake is encrypted whatever is
	// selected; it must be here, whole, before the cipher may be laid down.
	first := int(binary.BigEndian.Uint16(b))
	if first > bufferSize {
		return 0, fmt.Errorf("a first payload of %d bytes: at most %d are accepted", first, bufferSize)
	}
	if err := c.need(first); err != nil {
		return 0, err
	}
	if c.w-c.r > first {
		provide &^= msePlain // it went on without our answer, so it goes on encrypted
	}
	return provide, nil
}

// selectMethod tells the peer what the rest of the connection is like: plain
// when the peer allows it, since that spares both of us the copying.
func (c *Conn) selectMethod(provide uint32, enc *rc4.Cipher) error {
	method := uint32(msePlain)
	switch {
	case provide&msePlain != 0:
	case provide&mseRC4 != 0:
		method = mseRC4
	default:
		return fmt.Errorf("it offers no method that we know (%#x)", provide)
	}
	answer := make([]byte, 8+4+2) // no padding: a peer need not know how long our messages are
	binary.BigEndian.PutUint32(answer[8:], method)
	enc.XORKeyStream(answer, answer)
	if _, err := c.raw.Write(answer); err != nil {
		return err
	}
	if method == mseRC4 {
		c.enc = enc
	} else {
		c.dec = nil
	}
	return nil
}

// decryptWith decrypts what waits in the buffer and all that is read from now on.
func (c *Conn) decryptWith(dec *rc4.Cipher) {
	dec.XORKeyStream(c.buf[c.r:c.w], c.buf[c.r:c.w])
	c.dec = dec
}

func mseCipher(label string, secret []byte, ih infohash.T) *rc4.Cipher {
	key := mseHash(label, secret, ih[:])
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 20 bytes
	}
	var skip [mseSkipKeys]byte
	c.XORKeyStream(skip[:], skip[:])
	return c
}
