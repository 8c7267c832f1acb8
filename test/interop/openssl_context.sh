#!/bin/sh
# A second implementation of the context certificate in miniature: OpenSSL's
# command line makes one beside an SVID, self-signed, since OpenSSL 3.0 does not
# load an unsigned certificate for sending (see tlsctx/SPEC.md).
#
#   openssl_context.sh LEAF.pem KEY.pem TARGET OUT.pem
#
# TARGET may be empty: a server states none.
set -eu
leaf=$1 key=$2 target=$3 out=$4
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
hex() { od -An -v -tx1 | tr -d ' \n'; }

# The extension's value: leaf digest, one attribute, perhaps a target.
openssl x509 -in "$leaf" -outform DER | openssl dgst -sha256 -binary >"$dir/digest"
{
	echo 'asn1 = SEQUENCE:context'
	echo '[context]'
	echo 'magic = UTF8:hallmark'
	echo 'version = INTEGER:1'
	echo "digest = IMPLICIT:0,FORMAT:HEX,OCTETSTRING:$(hex <"$dir/digest")"
	echo 'attributes = SEQUENCE:attributes'
	if [ -n "$target" ]; then echo "target = IMPLICIT:1,UTF8:$target"; fi
	echo '[attributes]'
	echo 'first = SEQUENCE:first'
	echo '[first]'
	echo 'name = IA5:k8s.pod.name'
	echo 'value = UTF8:made-by-openssl'
} >"$dir/extension.cnf"
openssl asn1parse -genconf "$dir/extension.cnf" -noout -out "$dir/extension"

# The serial number: 159 bits of SHA-256(digest || value).
serial=$(cat "$dir/digest" "$dir/extension" | openssl dgst -sha256 -binary | head -c 20 | hex)
first=$(printf '%s' "$serial" | cut -c1-2)
printf '%02X%s\n' $((0x$first & 0x7f)) "$(printf '%s' "$serial" | cut -c3- | tr a-f A-F)" >"$dir/serial"

# The validity: the leaf's own.
when() { openssl x509 -in "$leaf" -noout "-$1" -dateopt iso_8601 | sed 's/.*=//; s/[^0-9]//g'; }

cat >"$dir/ca.cnf" <<END
[ca]
default_ca = it
[it]
database = $dir/index
serial = $dir/serial
new_certs_dir = $dir
default_md = sha256
policy = any
preserve = yes
x509_extensions = extensions
[any]
commonName = supplied
[req]
distinguished_name = name
string_mask = utf8only
prompt = no
[name]
commonName = hallmark handshake context
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = none
authorityKeyIdentifier = none
1.3.6.1.4.1.32473.72.1 = DER:$(hex <"$dir/extension")
END
: >"$dir/index"
openssl req -new -config "$dir/ca.cnf" -key "$key" -out "$dir/request"
openssl ca -batch -config "$dir/ca.cnf" -selfsign -keyfile "$key" -in "$dir/request" -notext -out "$out" \
	-startdate "$(when startdate)Z" -enddate "$(when enddate)Z"
