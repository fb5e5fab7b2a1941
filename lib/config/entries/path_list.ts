/** Lists of paths that decide who may use them. */
import { z } from "zod";

const PATH_EXPECTED =
  'must be a path such as "/manifest.json", or one that ends in "/" for all below';

/** What a path is made of; anything that two readers could take for different paths is none here. */
export const clearPathPattern = /^\/(?!\/)[\w.~!$&'()*+,=:@/-]{0,1023}$/;
const unclear = /\/\.{1,2}(?:\/|$)|\/\//;
/** It would be taken for a pattern. */
const endsInStar = /\*$/;

const listedPath = z.string(PATH_EXPECTED).regex(clearPathPattern, PATH_EXPECTED)
  .refine((path) => !unclear.test(path) && !endsInStar.test(path), PATH_EXPECTED)
  .refine((path) => !path.startsWith("/.culvert"), "is one of culvert's own paths");

/** Exact paths, and beginnings that end in `/`. */
export function pathList(max: number): z.ZodArray<typeof listedPath> {
  return z.array(listedPath, "must be a list of paths").max(max, `must have at most ${max} paths`);
}
