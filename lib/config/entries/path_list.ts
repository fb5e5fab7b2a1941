/** Lists of paths that decide who may use them. */
import { z } from "zod";
import { maxPathCharacters } from "../../domain/path_rules.ts";

const PATH_EXPECTED =
  'must be a path such as "/manifest.json", or one that ends in "/" for all below';

/** What a path is made of, in the syntax that Kubernetes' schemas share. */
export const listedPathPattern = /^\/[\w.~!$&'()*+,=:@/-]*$/;
/** Anything that two readers could take for different paths is none here. */
const unclear = /\/\.{1,2}(?:\/|$)|\/\//;
/** It would be taken for a pattern. */
const endsInStar = /\*$/;

const listedPath = z.string(PATH_EXPECTED).max(maxPathCharacters, PATH_EXPECTED)
  .regex(listedPathPattern, PATH_EXPECTED)
  .refine((path) => !unclear.test(path) && !endsInStar.test(path), PATH_EXPECTED)
  .refine((path) => !path.startsWith("/.culvert"), "is one of culvert's own paths");

/** Exact paths, and beginnings that end in `/`. */
export function pathList(max: number): z.ZodArray<typeof listedPath> {
  return z.array(listedPath, "must be a list of paths").max(max, `must have at most ${max} paths`);
}
