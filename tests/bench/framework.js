// SPDX-License-Identifier: MIT
// The functions framework for Node.js with the bench's handler: its own HTTP server, on 127.0.0.1.
// usage: node framework.js NODE_MODULES_FOLDER PORT
const path = require('path');
const folder = path.join(process.argv[2], '@google-cloud', 'functions-framework');
const functions = require(folder);
const { getTestServer } = require(path.join(folder, 'build', 'src', 'testing.js'));

functions.http('call', (request, response) => {
  const data = request.body;
  response.json({ id: data.id, name: data.name, total: data.a + data.b, ok: true, tags: data.tags });
});
getTestServer('call').listen(Number(process.argv[3]), '127.0.0.1', () => console.log('ready'));
