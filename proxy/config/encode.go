package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// redacted stands for what is not shown.
const redacted = "REDACTED"

// Redacted returns the effective configuration, defaults filled in and secrets
// left out, in maps, lists and scalars that any encoder writes: version,
// warnings, and resources in the form in which files hold them.
func (c *Config) Redacted() any {
	return map[string]any{"version": c.Version, "warnings": c.Warnings, "resources": c.Resources()}
}

// Resources returns the effective configuration as a list of resources in the
// form in which files hold them, defaults filled in and secrets left out.
func (c *Config) Resources() []any { return c.resources(true) }

// MarshalJSON writes what [Config.Redacted] returns.
func (c *Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.Redacted()) }

// YAML returns the resources of the effective configuration as a file would
// hold them, secrets left out.
func (c *Config) YAML() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, r := range c.Resources() {
		if err := e.Encode(r); err != nil {
			return nil, fmt.Errorf("config: write as YAML: %w", err)
		}
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("config: write as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// version returns a digest of the settings.
func version(c *Config) string {
	text, err := json.Marshal(c.resources(false)) // maps are written in order
	if err != nil {
		return "" // there is nothing in it that cannot be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// resources returns everything, each in the form in which files hold it.
func (c *Config) resources(redact bool) []any {
	encode := func(kind string, m Metadata, spec any) any {
		return map[string]any{
			"apiVersion": APIVersion, "kind": kind,
			"metadata": encodeStruct(reflect.ValueOf(m), redact),
			"spec":     encodeStruct(reflect.ValueOf(spec), redact),
		}
	}
	proxy := c.Proxy.Metadata
	if proxy.Name == "" {
		proxy.Name = "default"
	}
	list := []any{encode(KindProxy, proxy, c.Proxy.Spec)}
	for _, in := range c.Inbounds {
		list = append(list, encode(KindInbound, in.Metadata, in.Spec))
	}
	for _, out := range c.Outbounds {
		list = append(list, encode(KindOutbound, out.Metadata, out.Spec))
	}
	for _, p := range c.Policies {
		list = append(list, encode(KindAuthorizationPolicy, p.Metadata, p.Spec))
	}
	return list
}

// encodeStruct returns the fields that have a default or say something.
func encodeStruct(v reflect.Value, redact bool) map[string]any {
	fields := make(map[string]any)
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		if says(value) || f.has {
			fields[f.name] = encodeValue(value, redact, redact && f.secret)
		}
	}
	return fields
}

// says reports whether the value differs from nothing at all.
func says(v reflect.Value) bool {
	if _, ok := scalarOf(v.Type()); ok {
		return !v.IsZero()
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			if f.has || says(v.Field(f.index)) {
				return true
			}
		}
		return false
	default:
		return v.Len() > 0
	}
}

func encodeValue(v reflect.Value, redact, secret bool) any {
	if s, ok := scalarOf(v.Type()); ok {
		if secret {
			return redacted
		}
		return s.format(v.Interface())
	}
	switch v.Kind() {
	case reflect.Struct:
		return encodeStruct(v, redact)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = encodeValue(v.Index(i), redact, secret)
		}
		return list
	default:
		entries := make(map[string]any)
		for key, value := range v.Seq2() {
			entries[key.String()] = encodeValue(value, redact, secret)
		}
		return entries
	}
}
