package issuer

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// minRefresh keeps an SVID that is about to expire from spinning a stream.
const minRefresh = 100 * time.Millisecond

// service is the Workload API on one socket.
type service struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	issuer *Issuer
	socket string // "" is the shared one
}

// answer makes the response for the registrations that match a caller, and says
// when it will have to be made anew at the latest; never, if zero.
type answer func(c *Config, v *view, matched []*entry, now time.Time) (proto.Message, time.Time, error)

// FetchX509SVID streams the caller's SVIDs with their bundles (SPIFFE Workload
// API, section 5.2.1).
func (s *service) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	return s.stream(stream, answerSVIDs)
}

// FetchX509Bundles streams the bundles that the caller is to trust (SPIFFE
// Workload API, section 5.2.2).
func (s *service) FetchX509Bundles(_ *workload.X509BundlesRequest, stream workload.SpiffeWorkloadAPI_FetchX509BundlesServer) error {
	return s.stream(stream, answerBundles)
}

// FetchJWTSVID is not offered.
func (s *service) FetchJWTSVID(context.Context, *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	return nil, errX509Only()
}

// FetchJWTBundles is not offered.
func (s *service) FetchJWTBundles(*workload.JWTBundlesRequest, workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	return errX509Only()
}

// ValidateJWTSVID is not offered.
func (s *service) ValidateJWTSVID(context.Context, *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	return nil, errX509Only()
}

// FetchWITSVID is not offered.
func (s *service) FetchWITSVID(*workload.WITSVIDRequest, workload.SpiffeWorkloadAPI_FetchWITSVIDServer) error {
	return errX509Only()
}

// FetchWITBundles is not offered.
func (s *service) FetchWITBundles(*workload.WITBundlesRequest, workload.SpiffeWorkloadAPI_FetchWITBundlesServer) error {
	return errX509Only()
}

func errX509Only() error {
	return status.Error(codes.Unimplemented, "this issuer issues X.509-SVIDs only, no JWT-SVIDs and no WIT-SVIDs")
}

// stream sends the answer, and again whenever it differs from the last one,
// until the caller goes or loses its identity.
func (s *service) stream(stream grpc.ServerStream, compose answer) error {
	ctx := stream.Context()
	conn, err := connection(ctx)
	if err != nil {
		return err
	}
	var last proto.Message
	for {
		v := s.issuer.current.Load()
		next, refresh, err := s.answer(ctx, conn.caller, v, compose)
		if err != nil {
			return err
		}
		if last == nil || !proto.Equal(last, next) {
			if err := s.send(stream, conn, next); err != nil {
				return err
			}
			last = next
		}
		if !waitForChange(ctx, v, refresh) {
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// answer selects the caller's registrations and makes the response for them.
func (s *service) answer(ctx context.Context, c caller, v *view, compose answer) (proto.Message, time.Time, error) {
	matched, cause := selectFor(v.entries, s.socket, c)
	if len(matched) == 0 {
		s.issuer.logRefusal(ctx, c, "no identity issued, for no registration matches", cause)
		return nil, time.Time{}, status.Error(codes.PermissionDenied, "no identity issued")
	}
	response, refresh, err := compose(&s.issuer.config, v, matched, time.Now())
	if err != nil {
		s.issuer.config.Logger.ErrorContext(ctx, "issue", "error", err)
		return nil, time.Time{}, status.Error(codes.Unavailable, "the SVID cannot be issued at the moment: see the issuer's log")
	}
	return response, refresh, nil
}

// send closes the connection of a caller that does not read: nothing else would
// end a write to it.
func (s *service) send(stream grpc.ServerStream, conn *peerConn, message proto.Message) error {
	watchdog := time.AfterFunc(s.issuer.config.Limits.SendTimeout, func() { _ = conn.Close() })
	defer watchdog.Stop()
	return stream.SendMsg(message)
}

// waitForChange waits until v has been replaced or refresh is due. It reports
// false when ctx ends.
func waitForChange(ctx context.Context, v *view, refresh time.Time) bool {
	if refresh.IsZero() {
		select {
		case <-ctx.Done():
			return false
		case <-v.changed:
			return true
		}
	}
	return sleep(ctx, v.changed, max(time.Until(refresh), minRefresh))
}

func answerSVIDs(c *Config, v *view, matched []*entry, now time.Time) (proto.Message, time.Time, error) {
	response := &workload.X509SVIDResponse{FederatedBundles: make(map[string][]byte)}
	bundle := v.roots().der()
	var refresh time.Time
	for _, e := range matched {
		m, err := e.svid(c, v, now)
		if err != nil {
			return nil, time.Time{}, err
		}
		if refresh.IsZero() || m.rotateAt.Before(refresh) {
			refresh = m.rotateAt
		}
		response.Svids = append(response.Svids, &workload.X509SVID{
			SpiffeId:    e.workload.ID.String(),
			X509Svid:    m.chainDER,
			X509SvidKey: m.keyDER,
			Bundle:      bundle,
			Hint:        e.workload.Hint,
		})
		e.addFederated(v, response.FederatedBundles)
	}
	return response, refresh, nil
}

func answerBundles(c *Config, v *view, matched []*entry, _ time.Time) (proto.Message, time.Time, error) {
	response := &workload.X509BundlesResponse{Bundles: map[string][]byte{c.TrustDomain.IDString(): v.roots().der()}}
	for _, e := range matched {
		e.addFederated(v, response.Bundles)
	}
	return response, time.Time{}, nil
}

// addFederated adds the bundles that the registration names, as far as they are
// known.
func (e *entry) addFederated(v *view, bundles map[string][]byte) {
	for _, td := range e.workload.FederatesWith {
		if bundle, known := v.foreign[td]; known {
			bundles[td.IDString()] = bundle.der()
		}
	}
}
