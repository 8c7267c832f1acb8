package config

import _ "embed"

//go:embed schema/hallmark.schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of the resources, for editors
// and for checks elsewhere: one schema for a document of any kind. It says less
// than [Parse], which also looks at resources together.
func Schema() []byte { return []byte(schema) }
