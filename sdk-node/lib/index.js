"use strict";
// Trunkline for Node: everything public, and nothing else.

const { Plugin } = require("./plugin.js");
const { Client } = require("./client.js");
const { PluginAdapter, BrokerSender } = require("./adapter.js");
const { Event } = require("./event.js");
const { Context } = require("./context.js");
const { InstanceContext } = require("./scope.js");
const { Sending } = require("./sending.js");
const { Delivery, Subscription } = require("./subscription.js");
const { TrunklineError } = require("./errors.js");
const { Reply, Retry, Reject, Receipt, Batch, RetryLater, NeedsAuth, Fatal } = require("./outcomes.js");
const { run, serve, isMain } = require("./run.js");

exports.Plugin = Plugin;
exports.Client = Client;
exports.PluginAdapter = PluginAdapter;
exports.BrokerSender = BrokerSender;
exports.Event = Event;
exports.Context = Context;
exports.InstanceContext = InstanceContext;
exports.Reply = Reply;
exports.Retry = Retry;
exports.Reject = Reject;
exports.Receipt = Receipt;
exports.Batch = Batch;
exports.RetryLater = RetryLater;
exports.NeedsAuth = NeedsAuth;
exports.Fatal = Fatal;
exports.Sending = Sending;
exports.Delivery = Delivery;
exports.Subscription = Subscription;
exports.TrunklineError = TrunklineError;
exports.run = run;
exports.serve = serve;
exports.isMain = isMain;
