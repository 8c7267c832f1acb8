package h2

// onHeaders acts on a decoded header block.
func (c *Conn) onHeaders(id uint32, end, badPriority bool) error {
	if id&1 == 0 {
		return failure(ProtocolError, ReasonStreamState) // nothing is pushed
	}
	c.mu.Lock()
	s := c.streams[id]
	if s == nil && (c.role == Client || id <= c.lastID) {
		defer c.mu.Unlock()
		switch {
		case c.idle(id):
			return failure(ProtocolError, ReasonStreamState)
		case c.forgotten.has(id):
			return nil
		}
		return failure(StreamClosed, ReasonStreamState)
	}
	if s == nil {
		return c.onRequest(id, end, badPriority) // unlocks
	}
	err := c.onFurther(s, end, badPriority) // unlocks
	return err
}

// onRequest acts on a new stream's header block. The lock is held, and given up.
func (c *Conn) onRequest(id uint32, end, badPriority bool) error {
	c.lastID = id
	h := &c.in.headers
	refuse := func(code Code, reason Reason) error {
		defer c.mu.Unlock()
		return c.resetAbsent(id, code, reason)
	}
	switch {
	case c.goAway || c.closing: // it will be told by the GOAWAY that is on its way
		c.mu.Unlock()
		return nil
	case badPriority:
		return refuse(ProtocolError, ReasonFrame)
	case len(c.streams) >= int(c.config.MaxStreams):
		return refuse(RefusedStream, ReasonStreams)
	case c.config.Budget.full():
		return refuse(RefusedStream, ReasonBudget)
	case c.in.decoder.tooLarge():
		return c.onTooLarge(id) // unlocks
	}
	length, err := int64(-1), readHeaders(h, Request, c.in.decoder.fields)
	if err == nil && h.Protocol != "" && !c.config.ConnectProtocol {
		err = errPseudo
	}
	connect := h.Method == MethodConnect
	if err == nil && !connect {
		length, err = contentLength(h.Fields)
	}
	if err == nil && end && length > 0 {
		err = errBody
	}
	if err != nil {
		return refuse(ProtocolError, ReasonFields)
	}
	s := c.newStream(id, nil)
	s.length, s.connect, s.remoteEnd = length, connect, end
	s.accepting = true
	s.busy++
	c.mu.Unlock()

	handler := c.handler.Accept(s, h, end)

	c.mu.Lock()
	s.handler, s.accepting = handler, false
	sent := s.sentDue
	s.sentDue = 0
	if handler == nil && !s.over {
		c.out.rstStream(id, RefusedStream)
		c.forgotten.add(id)
		c.end(s, failure(RefusedStream, ReasonRefused))
		c.kick()
	}
	c.mu.Unlock()
	if handler != nil && sent > 0 {
		handler.Sent(s, sent)
	}
	c.left(s)
	return nil
}

// onTooLarge answers a request whose fields are too many or too long. The lock
// is held, and given up.
func (c *Conn) onTooLarge(id uint32) error {
	defer c.mu.Unlock()
	reason := ReasonHeaderBytes
	if c.in.decoder.count > c.config.MaxHeaderFields {
		reason = ReasonHeaderFields
	}
	c.out.headers(id, &Headers{Kind: Response, Status: 431}, true, c.peerFrameSize)
	return c.resetAbsent(id, NoError, reason)
}

// onFurther acts on a header block of a stream that is open. The lock is held,
// and given up.
func (c *Conn) onFurther(s *Stream, end, badPriority bool) error {
	h := &c.in.headers
	wrong := func(code Code, reason Reason) error {
		defer c.mu.Unlock()
		return c.streamErrorLocked(s.id, code, reason)
	}
	switch {
	case s.remoteEnd:
		return wrong(StreamClosed, ReasonStreamState)
	case badPriority:
		return wrong(ProtocolError, ReasonFrame)
	case c.in.decoder.tooLarge():
		reason := ReasonHeaderBytes
		if c.in.decoder.count > c.config.MaxHeaderFields {
			reason = ReasonHeaderFields
		}
		return wrong(EnhanceYourCalm, reason)
	}
	kind := Trailers
	if c.role == Client && !s.responded {
		kind = Response
	}
	err := readHeaders(h, kind, c.in.decoder.fields)
	if err == nil {
		err = s.follow(h, end)
	}
	if err != nil {
		return wrong(ProtocolError, ReasonFields)
	}
	s.busy++
	s.remoteEnd = end
	c.mu.Unlock()
	s.handler.Headers(s, h, end)
	c.left(s)
	return nil
}

// maxInformational bounds the informational responses to one request.
const maxInformational = 100

// follow checks a header block against what has come before it. The lock is
// held.
func (s *Stream) follow(h *Headers, end bool) error {
	switch h.Kind {
	case Informational:
		if s.inform++; end || s.inform > maxInformational {
			return errEnd
		}
	case Response:
		s.responded = true
		if s.connect && h.Status < 300 || s.head || h.Status == 304 || h.Status == 204 {
			if !s.connect {
				s.length = 0 // content-length says what there would have been
			}
			return nil
		}
		length, err := contentLength(h.Fields)
		if err != nil {
			return err
		}
		if s.length = length; end && length > 0 {
			return errBody
		}
	default:
		if !end {
			return errEnd
		}
		if s.length > 0 {
			return errBody
		}
	}
	return nil
}
