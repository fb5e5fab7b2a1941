import { equal } from "node:assert/strict";
import { localField } from "../../lib/access/local_response.ts";
import { field } from "../../lib/http1/head.ts";

const origin = { service: new URL("https://dash.example.com"), local: "localhost:8080" };

function returned(name: string, value: string, service = origin.service): string {
  return localField(field(name, value), { ...origin, service }).value;
}

Deno.test("localField keeps redirects within the service on the local port, and leaves all others", () => {
  const cases: [string, string][] = [
    ["https://dash.example.com/a?b#c", "http://localhost:8080/a?b#c"],
    ["https://dash.example.com", "http://localhost:8080"],
    ["https://DASH.example.com:443/a", "http://localhost:8080/a"],
    ["//dash.example.com/a", "http://localhost:8080/a"],
    ["/a//b", "/a//b"],
    ["a", "a"],
    ["http://dash.example.com/a", "http://dash.example.com/a"],
    ["https://dash.example.com:8443/", "https://dash.example.com:8443/"],
    ["https://dash.example.com.evil.test/", "https://dash.example.com.evil.test/"],
    ["https://dash.example.com@evil.test/", "https://dash.example.com@evil.test/"],
    ["https://dash.example.com\\@evil.test/", "http://localhost:8080\\@evil.test/"],
    [
      "https://login.example.com/?to=https://dash.example.com/",
      "https://login.example.com/?to=https://dash.example.com/",
    ],
  ];
  for (const name of ["Location", "Content-Location"]) {
    for (const [value, expected] of cases) equal(returned(name, value), expected, value);
  }
  const other = new URL("http://dash.localhost:8081");
  equal(returned("Location", "http://dash.localhost:8081/x", other), "http://localhost:8080/x");
  equal(returned("X-Other", "https://dash.example.com/"), "https://dash.example.com/");
});

Deno.test("localField has browsers keep cookies of the service's domain", () => {
  const cases: [string, string][] = [
    ["a=1; Domain=dash.example.com; Path=/; Secure", "a=1; Path=/; Secure"],
    ["a=1; Domain=.Example.com", "a=1"],
    ['a=1;domain = "example.com" ;HttpOnly', "a=1;HttpOnly"],
    ["a=1; Domain=", "a=1"],
    ["a=1; Domain=other.test; Path=/", "a=1; Domain=other.test; Path=/"],
    ["a=1; Domain=ample.com", "a=1; Domain=ample.com"],
    ["a=domain=example.com; Path=/", "a=domain=example.com; Path=/"],
    ["a=1", "a=1"],
  ];
  for (const [value, expected] of cases) equal(returned("Set-Cookie", value), expected, value);
});
