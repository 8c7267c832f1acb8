package httpctx

import "errors"

// errPlaintext is the answer to an http URL.
var errPlaintext = errors.New("httpctx: this transport does not speak plaintext: use an https URL")

// errNoHandler: the default one of net/http belongs to everybody.
var errNoHandler = errors.New("httpctx: the server has no Handler: set one")
