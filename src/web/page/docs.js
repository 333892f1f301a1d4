// Shows the OpenAPI document of this service.
"use strict";

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// A schema in a few words.
function words(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  for (const key of ["oneOf", "anyOf", "allOf"]) {
    if (schema[key]) return schema[key].map(words).filter((word) => word !== "null").join(key === "allOf" ? " & " : " | ");
  }
  const kinds = [schema.type || "any"].flat().filter((kind) => kind !== "null");
  if (kinds[0] === "array") return `${words(schema.items)}[]`;
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.additionalProperties) return `{name: ${words(schema.additionalProperties)}}`;
  return kinds.join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function table(heads, rows) {
  const made = document.createElement("table");
  const head = document.createElement("tr");
  head.append(...heads.map((text) => element("th", text)));
  made.append(head);
  for (const cells of rows) {
    const line = document.createElement("tr");
    line.append(...cells.map((cell) => (cell instanceof Node ? cell : element("td", cell))));
    made.append(line);
  }
  return made;
}

function code(text) {
  const cell = document.createElement("td");
  cell.append(element("code", text));
  return cell;
}

function content(of) {
  return Object.values((of && of.content) || {})[0] || {};
}

function route(method, path, operation) {
  const made = document.createElement("details");
  const title = document.createElement("summary");
  title.append(element("span", method.toUpperCase(), "method"), element("code", path), " ", element("span", operation.summary || "", "quiet"));
  made.append(title);
  if (operation.description) made.append(element("p", operation.description));
  if (operation.parameters && operation.parameters.length > 0) {
    made.append(table(["Parameter", "In", "Type", ""], operation.parameters.map((parameter) =>
      [code(parameter.name), parameter.in, words(parameter.schema), parameter.description || ""])));
  }
  if (operation.requestBody) {
    const body = content(operation.requestBody);
    made.append(element("p", `Body: ${words(body.schema)}. ${operation.requestBody.description || ""}`));
    if (body.example) made.append(element("pre", JSON.stringify(body.example, null, 2)));
  }
  made.append(table(["Status", "", "Body"], Object.entries(operation.responses || {}).map(([status, response]) =>
    [code(status), response.description, words(content(response).schema)])));
  return made;
}

function fields(name, schema) {
  const made = document.createElement("details");
  const title = document.createElement("summary");
  title.append(element("code", name), " ", element("span", schema.description || "", "quiet"));
  made.append(title);
  const properties = Object.assign({}, ...[schema, ...(schema.allOf || [])].map((part) => part.properties || {}));
  const rows = Object.entries(properties).map(([field, of]) => [code(field), words(of), of.description || ""]);
  made.append(rows.length > 0 ? table(["Field", "Type", ""], rows) : element("p", words(schema)));
  return made;
}

function section(title, parts) {
  const list = element("div", null, "list");
  list.append(...parts);
  return [element("h2", title), list];
}

async function show() {
  const document_ = await (await fetch("/api/openapi.json")).json();
  document.getElementById("about").textContent = `${document_.info.version} · ${document_.info.description}`;
  const tags = new Map(["Values", "Sensors", "History", "Ingest", "Operation", "Admin", "Health"].map((tag) => [tag, []]));
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["Other"])[0];
      tags.set(tag, [...(tags.get(tag) || []), route(method, path, operation)]);
    }
  }
  const schemas = Object.entries(document_.components.schemas || {});
  const parts = [...tags].flatMap(([tag, routes]) => section(tag, routes));
  parts.push(...section("Bodies", schemas.map(([name, schema]) => fields(name, schema))));
  document.getElementById("routes").replaceChildren(...parts);
}

show().catch((error) => { document.getElementById("about").textContent = `The document could not be read: ${error.message}`; });
