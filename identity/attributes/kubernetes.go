package attributes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

// maxFile bounds a file, in bytes: Kubernetes allows 256 KiB of annotations.
const maxFile = 1 << 20

// annotationPrefix marks annotations that state resource attributes
// (OpenTelemetry semantic conventions, "Specify resource attributes using
// Kubernetes annotations").
const annotationPrefix = "resource.opentelemetry.io/"

// source says that an attribute has the value of something called from.
type source struct{ attribute, from string }

// variables are the variables that a pod's manifest sets from the downward API
// (env, valueFrom, fieldRef). They count in a pod only, see [inPod]: other
// systems use the same names for something else. The service account has no
// attribute in the conventions; the name is that of the collector's
// k8sattributes processor.
func variables() []source {
	return []source{
		{"k8s.pod.name", "POD_NAME"},
		{"k8s.pod.uid", "POD_UID"},
		{"k8s.namespace.name", "POD_NAMESPACE"},
		{"k8s.service_account.name", "POD_SERVICE_ACCOUNT"},
		{"k8s.node.name", "NODE_NAME"},
	}
}

// inPod reports whether this is a pod: the kubelet sets one variable in every
// container, and a manifest the other.
func inPod() bool {
	return os.Getenv("KUBERNETES_SERVICE_HOST") != "" || os.Getenv("POD_NAME") != ""
}

// podFiles are files of a downward API volume that hold one value each.
func podFiles() []source {
	return []source{
		{"k8s.pod.name", "name"},
		{"k8s.pod.uid", "uid"},
		{"k8s.namespace.name", "namespace"},
	}
}

// labels are the labels that state an attribute; of several for one attribute
// the first that is there counts.
func labels() []source {
	return []source{
		{"service.name", "app.kubernetes.io/instance"},
		{"service.name", "app.kubernetes.io/name"},
		{"service.version", "app.kubernetes.io/version"},
		{"cloud.availability_zone", "topology.kubernetes.io/zone"},
		{"cloud.region", "topology.kubernetes.io/region"},
		{"k8s.job.name", "batch.kubernetes.io/job-name"},
	}
}

// kubernetes is a detector for OpenTelemetry's SDK.
type kubernetes struct {
	podInfo, serviceAccount string
	warnings                []string
}

func (c Config) kubernetes() *kubernetes {
	return &kubernetes{podInfo: c.PodInfo, serviceAccount: c.ServiceAccount}
}

// files returns the paths of what is read.
func (k *kubernetes) files() []string {
	paths := []string{
		filepath.Join(k.serviceAccount, "namespace"),
		filepath.Join(k.podInfo, "labels"),
		filepath.Join(k.podInfo, "annotations"),
	}
	for _, f := range podFiles() {
		paths = append(paths, filepath.Join(k.podInfo, f.from))
	}
	return paths
}

// Detect returns what the pod's environment says of it. It does not fail: what
// cannot be read is a warning.
func (k *kubernetes) Detect(context.Context) (*resource.Resource, error) {
	found := make(map[string]string)
	set := func(name, value string) {
		if value != "" {
			found[name] = value
		}
	}
	set("k8s.namespace.name", k.line(filepath.Join(k.serviceAccount, "namespace")))
	for _, f := range podFiles() {
		set(f.attribute, k.line(filepath.Join(k.podInfo, f.from)))
	}
	if inPod() {
		for _, v := range variables() {
			set(v.attribute, strings.TrimSpace(os.Getenv(v.from)))
		}
	}
	labelled := k.pairs(filepath.Join(k.podInfo, "labels"))
	for _, l := range labels() {
		if _, stated := found[l.attribute]; !stated {
			set(l.attribute, labelled[l.from])
		}
	}
	imply(found, labelled)
	for name, value := range k.pairs(filepath.Join(k.podInfo, "annotations")) {
		if name, ok := strings.CutPrefix(name, annotationPrefix); ok {
			set(name, value)
		}
	}
	var list []attribute.KeyValue
	for name, value := range found {
		list = append(list, attribute.String(name, value))
	}
	return resource.NewSchemaless(list...), nil
}

// imply adds the names of what owns the pod, which Kubernetes builds the pod's
// own name from, and a service name after them where no label gives one.
func imply(found, labelled map[string]string) {
	pod := found["k8s.pod.name"]
	if hash := labelled["pod-template-hash"]; hash != "" {
		if name, suffix, ok := cutLast(pod, "-"+hash+"-"); ok && suffix != "" {
			found["k8s.deployment.name"], found["k8s.replicaset.name"] = name, name+"-"+hash
		}
	}
	if labelled["statefulset.kubernetes.io/pod-name"] == pod {
		if name, ordinal, ok := cutLast(pod, "-"); ok && isNumber(ordinal) {
			found["k8s.statefulset.name"] = name
		}
	}
	for _, owner := range []string{"k8s.deployment.name", "k8s.statefulset.name", "k8s.job.name"} {
		if _, named := found["service.name"]; !named && found[owner] != "" {
			found["service.name"] = found[owner]
		}
	}
}

// cutLast cuts s around the last sep; what is before must not be empty.
func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// line returns a file's text without the white space around it, or "".
func (k *kubernetes) line(path string) string { return strings.TrimSpace(k.read(path)) }

// pairs returns what a file of labels or annotations holds.
func (k *kubernetes) pairs(path string) map[string]string {
	pairs, err := parsePairs(k.read(path))
	if err != nil {
		k.warnings = append(k.warnings, fmt.Sprintf("attributes: %s: %v", path, err))
	}
	return pairs
}

// read returns a file's content, or "" if there is none.
func (k *kubernetes) read(path string) string {
	content, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.warnings = append(k.warnings, fmt.Sprintf("attributes: %v", err))
	}
	return content
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path) // before opening it, which waits if it is a pipe
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	if err != nil {
		return "", err
	}
	return string(content), nil
}

// parsePairs parses the downward API's form of labels and annotations: a line
// key="value" each, the value quoted as Go does it. It returns the lines before
// one that is not of that form, together with an error.
func parsePairs(text string) (map[string]string, error) {
	pairs := make(map[string]string)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		key, quoted, _ := strings.Cut(line, "=")
		value, err := strconv.Unquote(quoted)
		if key == "" || err != nil || quoted[0] != '"' {
			return pairs, fmt.Errorf("line %d is not of the form key=\"value\"", number)
		}
		pairs[key] = value
	}
	return pairs, nil
}
