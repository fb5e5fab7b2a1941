/**
 * YAML for clients of Kubernetes. They read it by the rules of YAML 1.1, in which plain `no`, `1e3`
 * and `12:30` are no strings, so every string is in quotes.
 */

import { Document, Scalar } from "yaml";

/** A text that stays as it is, line by line. */
export interface Literal {
  readonly literal: string;
}

/** What there is to write. */
export type YamlValue = string | boolean | Literal | readonly YamlValue[] | {
  readonly [key: string]: YamlValue;
};

/** Writes a document, without breaking long strings; it ends with a line break. */
export function writeYaml(value: YamlValue): string {
  const document = new Document(value, (_key, part) => {
    if (typeof part !== "object" || part === null || !("literal" in part)) return part;
    const scalar = new Scalar(part.literal);
    scalar.type = Scalar.BLOCK_LITERAL;
    return scalar;
  });
  return writeDocument(document);
}

/** The same for a document that may have been read: what stands in it stays as it is written. */
export function writeDocument(document: Document): string {
  return document.toString({
    lineWidth: 0,
    defaultStringType: "QUOTE_DOUBLE",
    defaultKeyType: "PLAIN",
  });
}
