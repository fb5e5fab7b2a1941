/** Fields by which some frameworks take another method or path than the request line's: pure. */
import { foldedName } from "./folded_name.ts";
import type { Field } from "./head.ts";

const methodOverrides = new Set(["x-http-method-override", "x-http-method", "x-method-override"]);
const pathOverrides = new Set(["x-original-url", "x-rewrite-url"]);

/** The folded name of a field that may stand for another method; undefined without one. */
export function methodOverride(fields: readonly Field[]): string | undefined {
  return firstOf(fields, methodOverrides);
}

/** The same for another path. */
export function pathOverride(fields: readonly Field[]): string | undefined {
  return firstOf(fields, pathOverrides);
}

function firstOf(fields: readonly Field[], names: ReadonlySet<string>): string | undefined {
  return fields.map(({ key }) => foldedName(key)).find((name) => names.has(name));
}
